"""Colours of cells, and ways to draw few or very many of them."""
