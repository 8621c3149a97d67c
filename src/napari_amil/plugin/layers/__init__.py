"""Cells as a napari layer: rows, edits, undo, files, and the shared selection."""
