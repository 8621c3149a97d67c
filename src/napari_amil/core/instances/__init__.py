"""From images and cohorts to instances: cells found, measured and cropped."""
