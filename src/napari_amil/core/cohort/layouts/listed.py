"""Checks and columns that tables of cells and tables of images share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.tables import number_hint, read_table, refuse_twin_columns
from napari_amil.core.base.types import Bag
from napari_amil.core.cohort.class_labels import label_key
from napari_amil.core.cohort.clinical import acquisition_columns

BAG_COLUMNS = ("bag", "patient", "label", "image")
"""Columns that every row of such a table needs."""
REFERENCE = "control_reference"
"""Optional column: 0 for control bags that train the classes but are no reference of cells."""
_TOO_LARGE = 2**53  # for a whole number that a table keeps exactly


def read_listed(path: Path, kind: str, required: Sequence[str]) -> pd.DataFrame:
    """Return a table in which every row names an image, and every bag has one patient, label and fold.

    Raises
    ------
    CohortError
        If a column is missing or a row is wrong; the first is named as a spreadsheet numbers it.
    """
    table = read_table(path)
    refuse_twin_columns(path, table)
    missing = [name for name in required if name not in table]
    if missing:
        raise CohortError(
            f"The {kind} '{path}' lacks {', '.join(missing)}; its header needs {', '.join(required)}."
        )
    for name in ("bag", "patient", "image"):
        refuse_rows(path, table[name] == "", f"has no {name}; fill it in")
    table["image"] = table["image"].str.replace("\\", "/")
    for name in ("patient", "label", *({"fold", REFERENCE} & set(table)), *acquisition_columns(table)):
        column = table[name].map(label_key) if name == "label" else table[name]
        differs = column != column.groupby(table["bag"], sort=False).transform("first")
        refuse_rows(path, differs, f"gives its bag another {name} than the rows above; a bag has only one")
    if "fold" in table:
        table["fold"] = whole_numbers(path, table, "fold")
    if REFERENCE in table:
        odd = ~table[REFERENCE].isin(("", "0", "1"))
        refuse_rows(path, odd, f"has another {REFERENCE} than 0 or 1; write 1 where it is a reference")
    return table


def listed_bag(
    name: str, first: Mapping[str, object], images: Sequence[str], acquisition: Mapping[str, str]
) -> Bag:
    """Return a bag without cells, with the patient, label, fold, role and acquisition of its first row.

    Parameters
    ----------
    acquisition
        ``column -> name`` (`acquisition_columns`).
    """
    fold = first.get("fold", pd.NA)
    return Bag(
        name,
        str(first["patient"]),
        tuple(images),
        label=str(first["label"]),
        fold=None if pd.isna(fold) else int(str(fold)),
        acquisition={key: str(first[column]) for column, key in acquisition.items() if first[column]},
        control_reference=first.get(REFERENCE) != "0",
    )


def slides_of(path: Path, table: pd.DataFrame) -> dict[str, str]:
    """Return ``image -> slide`` from the column ``slide``; empty where there is none.

    Raises
    ------
    CohortError
        If an image is listed on two slides.
    """
    if "slide" not in table:
        return {}
    first = table.groupby("image", sort=False)["slide"].transform("first")
    refuse_rows(path, table["slide"] != first, "gives its image another slide than the rows above")
    named = table[table["slide"] != ""]
    return dict(zip(named["image"], named["slide"], strict=True))


def numbers(path: Path, table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return columns as finite numbers."""
    found = table[names].apply(pd.to_numeric, errors="coerce")
    for name in names:
        bad = ~np.isfinite(found[name].astype(float))
        value = table.loc[bad, name].iloc[0] if bad.any() else ""
        message = f"has {name} = '{value}', which is no number{number_hint(value)}; give pixels"
        refuse_rows(path, bad, message)
    return found


def whole_numbers(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of whole numbers from 0, missing where it is empty."""
    found = pd.to_numeric(table[name], errors="coerce").astype(float)
    bad = (table[name] != "") & ~((found >= 0) & (found % 1 == 0) & (found < _TOO_LARGE))
    value = table.loc[bad, name].iloc[0] if bad.any() else ""
    refuse_rows(path, bad, f"has {name} = '{value}'; give a whole number from 0, or leave it empty")
    return found.astype("Int64")


def refuse_rows(path: Path, bad: pd.Series, what: str) -> None:
    """Refuse a table of which a row is wrong, naming the first such row as a spreadsheet numbers it."""
    if bad.any():
        raise CohortError(f"Row {int(bad.idxmax()) + 2} of '{path}' {what}.")
