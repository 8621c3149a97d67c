"""Errors, events, settings, types and files for every other package."""
