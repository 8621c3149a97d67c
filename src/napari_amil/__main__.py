"""The command line: ``napari-amil``, or ``python -m napari_amil``."""

from __future__ import annotations

from napari_amil.core.base.interrupts import end_at_once

end_at_once()  # before the imports, of which the start consists

from napari_amil.cli import main  # noqa: E402

__all__ = ["main"]

if __name__ == "__main__":
    main()
