"""Anomaly scores of cells by networks that redraw them as control cells."""
