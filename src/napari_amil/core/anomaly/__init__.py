"""Anomaly models of single cells, their calibration and the novelty of bags."""
