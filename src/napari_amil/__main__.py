"""``python -m napari_amil`` is the command line."""

from __future__ import annotations

from napari_amil.cli import main

if __name__ == "__main__":
    main()
