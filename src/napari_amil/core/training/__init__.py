"""The training loop and its checkpoint."""
