"""Encoder, attention, pooling and the multiple-instance model."""
