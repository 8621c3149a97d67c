"""Cell types learned from a few cells that a person named; never an input of anomaly or verdict."""
