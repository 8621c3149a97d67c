"""The protocol of a cohort layout, and the listing that reading one gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from napari_amil.core.base.types import Bag


@dataclass(frozen=True)
class Listing:
    """The bags of a cohort as its layout lists them.

    Parameters
    ----------
    root
        Folder that the image names are relative to.
    bags
        One bag per sample; labels as they are spelled in the source.
    notes
        Skipped files and rows, such as ``2 files skipped: bmp``.
    """

    root: Path
    bags: Sequence[Bag]
    notes: tuple[str, ...] = ()


class Layout(Protocol):
    """One way to lay out a cohort; `LAYOUTS` in ``registry.py`` holds one of each kind.

    Attributes
    ----------
    summary
        The layout in one sentence.
    needs
        Requirements, one phrase each: folders, files or columns.
    labels_from
        Source of the labels, such as ``folders``.
    unsupported
        Reason why bags of this layout cannot be scored or learned from, a sentence; empty if they can.
    """

    @property
    def summary(self) -> str: ...  # noqa: D102
    @property
    def needs(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def labels_from(self) -> str: ...  # noqa: D102
    @property
    def unsupported(self) -> str: ...  # noqa: D102

    def recognises(self, path: Path) -> bool:
        """Return whether a file or folder is laid out like this, without reading an image."""
        ...

    def read(self, path: Path) -> Listing:
        """Return the bags of a file or folder.

        Raises
        ------
        CohortError
            If there is no usable bag; the sentence names the file, the row and the remedy.
        """
        ...
