"""The napari plugin: panels, cell layers, colours; it computes no scores."""
