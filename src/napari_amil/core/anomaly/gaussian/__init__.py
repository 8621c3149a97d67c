"""Gaussian of the embeddings of control cells and the distance to it."""
