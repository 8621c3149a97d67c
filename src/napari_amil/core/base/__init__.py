"""Errors, events, settings, types and files: what every other package may use."""
