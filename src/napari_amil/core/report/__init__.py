"""Reports of samples as HTML pages."""
