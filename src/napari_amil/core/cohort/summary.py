"""Summaries of a cohort for people, made without reading an image."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.tables import read_table
from napari_amil.core.base.types import Cohort

_USUAL_CONTROLS = ("control", "controls", "healthy", "normal", "negative", "hc")


def class_names(path: Path) -> list[str]:
    """Return the names of the classes of a folder cohort or cell list, in the order of the alphabet.

    Raises
    ------
    CohortError
        If the table cannot be read or has no column ``label``.
    """
    if path.is_dir():
        folders = (child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
        return sorted(child.name for child in folders)
    if not path.is_file():
        raise CohortError(f"'{path}' cannot be found; choose the folder or cell list again.")
    table = read_table(path)
    if "label" not in table:
        raise CohortError(f"The cell list '{path}' has no column 'label'; add the class of each bag.")
    return sorted(set(table["label"]) - {"", "-1"})


def guess_control(names: list[str]) -> str | None:
    """Return the class that is called as controls usually are, None if none is."""
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[usual] for usual in _USUAL_CONTROLS if usual in by_lower), None)


def bag_table(cohort: Cohort) -> pd.DataFrame:
    """Return a line per bag: ``bag``, ``patient``, ``label``, ``fold``, ``images``, ``cells``, ``clinical``.

    ``cells`` is empty where cells are still to be found; ``clinical`` counts the known values.
    """
    rows = [
        {
            "bag": bag.bag,
            "patient": bag.patient,
            "label": bag.label,
            "fold": bag.fold,
            "images": len(bag.images),
            "cells": bag.n_cells if bag.cells else None,
            "clinical": len(bag.clinical),
        }
        for bag in cohort
    ]
    return pd.DataFrame(rows).astype({"fold": "Int64", "cells": "Int64"})


def clinical_columns(cohort: Cohort) -> list[str]:
    """Return the names of the clinical values that any bag has."""
    return sorted({name for bag in cohort for name in bag.clinical})
