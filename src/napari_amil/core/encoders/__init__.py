"""Encoders: from crops, feature maps or measurements of cells to embeddings."""
