"""Join a clinical table to bags: numeric, categorical and acquisition columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.tables import read_table
from napari_amil.core.base.types import Bag

ACQUISITION = ("site", "center", "centre", "hospital", "scanner", "microscope", "camera", "stain", "batch")
"""Columns of any table that say how a sample was taken; they are tested as confounders, never learned."""


def add_clinical(bags: Sequence[Bag], path: Path) -> list[Bag]:
    """Return the bags with the values of a table that has one row per ``bag`` or per ``patient``.

    A column is numeric if all its values are numbers, else categorical; an empty field is left out. The
    columns named in `ACQUISITION`, in any case, go to `Bag.acquisition` as text.
    A patient may be written with or without its class (``control/p1`` or ``p1``).

    Raises
    ------
    CohortError
        If the table has no key column, names something twice or ambiguously, or fits no bag.
    """
    table = read_table(path)
    key = next((name for name in ("bag", "patient") if name in table), None)
    if key is None:
        raise CohortError(f"The table '{path}' has neither a column 'bag' nor 'patient'; add one of them.")
    repeated = table[key].duplicated()
    if repeated.any():
        row = int(repeated.idxmax())
        raise CohortError(
            f"Row {row + 2} of '{path}' repeats the {key} '{table.loc[row, key]}'; keep one row of it."
        )
    given = table.drop(columns=[name for name in ("bag", "patient", "label") if name in table])
    acquisition = acquisition_columns(given)
    values = dict(zip(table[key], _values(given.drop(columns=list(acquisition))), strict=True))
    taken = {
        row[key]: {name: row[column] for column, name in acquisition.items()}
        for row in table.to_dict("records")
    }
    short = _short_names(bags, key, values, path)
    names = [short.get(name := getattr(bag, key), name) for bag in bags]
    if not any(values.get(name) or taken.get(name) for name in names):
        raise CohortError(
            f"No {key} in '{path}' is one of the cohort ({getattr(bags[0], key)}, ...); correct the names."
        )
    return [
        replace(
            bag,
            clinical=values.get(name, {}),
            acquisition=bag.acquisition | {column: v for column, v in taken.get(name, {}).items() if v},
        )
        for bag, name in zip(bags, names, strict=True)
    ]


def acquisition_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return ``column -> its name in lower case`` for the columns that are called as in `ACQUISITION`."""
    return {str(name): str(name).lower() for name in table if str(name).lower() in ACQUISITION}


def _values(columns: pd.DataFrame) -> list[dict[str, float | str]]:
    """Return the known values of each row."""
    rows: list[dict[str, float | str]] = [{} for _ in range(len(columns))]
    for name, column in columns.items():
        known = column != ""
        numbers = pd.to_numeric(column[known], errors="coerce").astype(float)
        numeric = bool(known.any()) and not numbers.isna().any()
        for row, (is_known, text) in zip(rows, zip(known, column, strict=True), strict=True):
            if is_known:
                row[str(name)] = float(text) if numeric else text
    return rows


def _short_names(bags: Sequence[Bag], key: str, listed: dict[str, object], path: Path) -> dict[str, str]:
    """Return ``class/patient -> patient`` for names that the table writes without their class."""
    owners: dict[str, set[str]] = {}
    for bag in bags:
        name = getattr(bag, key)
        if bag.label and name not in listed and name.startswith(f"{bag.label}/"):
            owners.setdefault(name.removeprefix(f"{bag.label}/"), set()).add(name)
    for short, names in owners.items():
        if short in listed and len(names) > 1:
            raise CohortError(
                f"The {key} '{short}' in '{path}' may be {' or '.join(sorted(names))}; write which it is."
            )
    return {name: short for short, names in owners.items() if short in listed for name in names}
