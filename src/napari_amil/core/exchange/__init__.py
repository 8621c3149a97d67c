"""Cells and scores in the formats of other programs, and back."""
