"""Model files (bundles) and the scorer inside them."""
