"""See, cell by cell, which cells of a blood smear are unusual, how sure that is, and why.

A blood sample is a bag of cells of which only the bag has a label. A Mask R-CNN finds the
cells, an encoder embeds each one, a Gaussian fitted to cells of healthy controls gives each
cell an anomaly score, an attention network says how much it matters, and both together pool
the bag (Kazeminia et al., MICCAI 2022). ``napari_amil.core`` holds the science and knows
neither Qt nor napari; ``napari_amil.plugin`` shows it; ``napari_amil.cli`` runs it.
"""

__version__ = "0.1.0"
