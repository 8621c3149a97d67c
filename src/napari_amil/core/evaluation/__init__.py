"""Figures of merit of bags and cells."""
