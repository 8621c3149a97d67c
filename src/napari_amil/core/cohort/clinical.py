"""Join a clinical table to bags: numeric, categorical and acquisition columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.tables import read_table, refuse_twin_columns
from napari_amil.core.base.types import Bag
from napari_amil.core.cohort.class_labels import UNKNOWN_WORDS

ACQUISITION = ("site", "center", "centre", "hospital", "scanner", "microscope", "camera", "stain", "batch")
"""Columns of any table that say how a sample was taken; they are tested as confounders, never learned."""


def add_clinical(bags: Sequence[Bag], path: Path) -> list[Bag]:
    """Return the bags with the values of a table that has one row per ``bag`` or per ``patient``.

    Values are read as `known_values` says; they join those that the bags bring along.
    A patient may be written with or without its class (``control/p1`` or ``p1``).

    Raises
    ------
    CohortError
        If the table has no key column, names something twice or ambiguously, or fits no bag.
    """
    table = read_table(path)
    refuse_twin_columns(path, table)
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
    values = dict(zip(table[key], known_values(given), strict=True))
    short = _short_names(bags, key, values, path)
    names = [short.get(name := getattr(bag, key), name) for bag in bags]
    nothing = KnownValues({}, {})
    found = [values.get(name, nothing) for name in names]
    if not any(known.clinical or known.acquisition for known in found):
        raise CohortError(
            f"No {key} in '{path}' is one of the cohort ({getattr(bags[0], key)}, ...); correct the names."
        )
    return [
        replace(bag, clinical=bag.clinical | known.clinical, acquisition=bag.acquisition | known.acquisition)
        for bag, known in zip(bags, found, strict=True)
    ]


@dataclass(frozen=True)
class KnownValues:
    """Clinical values and acquisition of one bag, from its row of a table."""

    clinical: dict[str, float | str]
    acquisition: dict[str, str]


def known_values(table: pd.DataFrame) -> list[KnownValues]:
    """Return the values of each row.

    A column is numeric if all its known values are numbers, else categorical; the columns named in
    `ACQUISITION`, in any case, tell how the sample was acquired, as text. `UNKNOWN_WORDS` are left out, but
    ``none``, which may be a category.
    """
    acquisition = acquisition_columns(table)
    clinical = _values(table.drop(columns=list(acquisition)))
    acquired = _values(table[list(acquisition)].rename(columns=acquisition), numeric=False)
    return [
        KnownValues(values, {name: str(value) for name, value in taken.items()})
        for values, taken in zip(clinical, acquired, strict=True)
    ]


def acquisition_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return ``column -> its name in lower case`` for the columns that are called as in `ACQUISITION`."""
    return {str(name): str(name).lower() for name in table if str(name).lower() in ACQUISITION}


def _values(columns: pd.DataFrame, *, numeric: bool = True) -> list[dict[str, float | str]]:
    """Return the known values of each row, numbers where a column holds nothing else."""
    rows: list[dict[str, float | str]] = [{} for _ in range(len(columns))]
    for name, column in columns.items():
        small = column.str.casefold()
        filled = ~small.isin(UNKNOWN_WORDS)
        numbers = pd.to_numeric(column[filled], errors="coerce").astype(float)
        is_numeric = numeric and bool(filled.any()) and not numbers.isna().any()
        known = filled if is_numeric else filled | (small == "none")
        for row, is_known, text in zip(rows, known, column, strict=True):
            if is_known:
                row[str(name)] = float(text) if is_numeric else text
    return rows


def _short_names(bags: Sequence[Bag], key: str, listed: Mapping[str, object], path: Path) -> dict[str, str]:
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
