"""A training from its preparation to its results."""
