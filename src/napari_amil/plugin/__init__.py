"""The napari panels: Qt and napari live here, mathematics does not."""
