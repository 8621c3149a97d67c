"""Metrics, figures and tables of bags and cells."""
