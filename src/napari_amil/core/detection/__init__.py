"""Detection of cells: Mask R-CNN, classical segmentation, training, and selection."""
