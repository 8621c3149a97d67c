"""Finding cells: Mask R-CNN, its first annotations, its training, and the cheap selection."""
