"""Cells as a napari layer: rows, edits, the way back, and what every view shares."""
