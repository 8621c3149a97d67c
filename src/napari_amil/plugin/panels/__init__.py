"""Panels of the window; each is a dock widget of the manifest."""
