"""Names of the measurements of red and of white cells."""

from __future__ import annotations

from collections.abc import Mapping

from napari_amil.core.base.settings import CellKind
from napari_amil.core.morphology.measures import NAMES
from napari_amil.core.morphology.white_cells import WHITE_NAMES

MEASUREMENTS: Mapping[CellKind, tuple[str, ...]] = {"red": NAMES, "white": WHITE_NAMES}
"""Names of the measurements by the cells of interest, in the order of their columns."""


def names_by_number(n_measurements: int) -> tuple[str, ...]:
    """Return the names of a table of ``n_measurements`` columns; no two kinds of cells have as many.

    Raises
    ------
    ValueError
        If no kind of cells has that many measurements.
    """
    for names in MEASUREMENTS.values():
        if len(names) == n_measurements:
            return names
    known = " or ".join(str(len(names)) for names in MEASUREMENTS.values())
    raise ValueError(f"There are {n_measurements} measurements of a cell, not {known}.")
