"""Summaries of a cohort for people, made without reading an image."""

from __future__ import annotations

import pandas as pd

from napari_amil.core.base.types import Cohort

_CONTROL_NAMES = ("control", "controls", "healthy", "normal", "negative", "hc")


def guess_control(names: list[str]) -> str | None:
    """Return the class that is called as controls usually are, None if none is."""
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[typical] for typical in _CONTROL_NAMES if typical in by_lower), None)


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
