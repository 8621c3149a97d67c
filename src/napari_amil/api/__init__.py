"""The public Python interface: NumPy arrays or files in, tables and outlines out.

Its names are those of the package itself: ``import napari_amil as amil``, then ``amil.score(...)``. They keep
to semantic versioning: what a later version of the same major number takes away is deprecated first.
"""
