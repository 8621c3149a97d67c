"""Images of smears: reading, refusing, bringing to one background and stain, cutting out cells."""
