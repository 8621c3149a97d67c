"""Training of models and detectors: preparation, runs and results."""
