"""Images of smears: reading, normalisation of background and stain, crops of cells."""
