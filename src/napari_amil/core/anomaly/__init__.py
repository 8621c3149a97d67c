"""The control Gaussian and its calibration."""
