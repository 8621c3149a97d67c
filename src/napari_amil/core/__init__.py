"""The science: images, cells, embeddings and scores. Runs on a machine without a display."""
