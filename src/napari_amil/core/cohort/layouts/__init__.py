"""Cohort layouts: ways to lay out images, cells and labels on the disk, each read into the same bags."""
