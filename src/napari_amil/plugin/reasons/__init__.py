"""Why a cell or a sample was called what it was called, in words and pictures."""
