"""Cell list: a CSV with one row per cell, its box in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, KEY_COLUMNS
from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.types import MIN_CELL_AREA_PX, MIN_CELL_SIDE_PX, Bag, Cells
from napari_amil.core.cohort.clinical import acquisition_columns
from napari_amil.core.cohort.layouts.layout import Listing
from napari_amil.core.cohort.layouts.listed import (
    BAG_COLUMNS,
    listed_bag,
    numbers,
    read_listed,
    refuse_rows,
    slides_of,
    whole_numbers,
)
from napari_amil.core.cohort.problems import enumerate_names

REQUIRED = (*BAG_COLUMNS, *BOX_COLUMNS)
"""Columns that a cell list must have."""


@dataclass(frozen=True)
class CellListLayout:
    """Bags with cells, in the order of the file; a cell that is listed twice counts twice."""

    summary: str = f"a cell list (CSV {', '.join(REQUIRED)})"
    needs: tuple[str, ...] = ("the columns " + ", ".join(REQUIRED), "the images, relative to the table")
    labels_from: str = "the column 'label'"
    unsupported: str = ""

    def recognises(self, path: Path) -> bool:
        """Return whether a file is a CSV; one that is no other table is a cell list that lacks columns."""
        return path.suffix.lower() == ".csv" and path.is_file()

    def read(self, path: Path) -> Listing:
        """Return the bags of a table, and where known their ``fold``, ``cell_id`` and ``cell_type``."""
        table, slides = _checked(path)
        cells, notes = _cells_of(path, table)
        return Listing(path.parent, _bags(cells, slides), tuple(notes))


def _bags(table: pd.DataFrame, slides: Mapping[str, str]) -> list[Bag]:
    """Return the bags of a checked table."""
    boxes = table[BOX_COLUMNS].to_numpy(np.float32)
    ids = table["cell_id"].to_numpy(np.int64, na_value=-1) if "cell_id" in table else None
    types = table["cell_type"].to_numpy(np.str_) if "cell_type" in table else None
    repeated = table.duplicated([*KEY_COLUMNS, *BOX_COLUMNS]).to_numpy() if ids is not None else None
    rows_of: dict[str, dict[str, NDArray[np.intp]]] = {}
    for (bag, image), rows in table.groupby(["bag", "image"], sort=False).indices.items():
        rows_of.setdefault(str(bag), {})[str(image)] = rows
    acquisition = acquisition_columns(table)
    bags = []
    for name, images in rows_of.items():
        first = table.iloc[next(iter(images.values()))[0]].to_dict()
        cells = {image: Cells(boxes[i], cell_id=_ids(ids, repeated, i)) for image, i in images.items()}
        cell_type = {} if types is None else {image: types[i] for image, i in images.items()}
        bag = listed_bag(name, first, list(images), acquisition)
        own = {image: slides[image] for image in images if image in slides}
        bags.append(replace(bag, cells=cells, cell_type=cell_type, slides=own))
    return bags


def _checked(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a cell list in which every row has a box in pixels, and ``image -> slide``."""
    table = read_listed(path, "cell list", REQUIRED)
    table[BOX_COLUMNS] = numbers(path, table, BOX_COLUMNS)
    if "cell_id" in table:
        table["cell_id"] = whole_numbers(path, table, "cell_id")
        known = table["cell_id"].notna()
        same_box = table.duplicated([*KEY_COLUMNS, *BOX_COLUMNS])
        clash = table.duplicated(KEY_COLUMNS) & known & ~same_box
        refuse_rows(path, clash, "has the cell_id of another box of this image; give each cell its own")
    return table, slides_of(path, table)


def _cells_of(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that are cells, and notes on those that are not and on bags that have none.

    Raises
    ------
    CohortError
        If no row is a cell.
    """
    height, width = table.y1 - table.y0, table.x1 - table.x0
    scores = table.get("detection_score", pd.Series("", table.index))
    detected = pd.to_numeric(scores, errors="coerce").notna()
    flat = (height <= 0) | (width <= 0)
    small = (np.minimum(height, width) < MIN_CELL_SIDE_PX) | (height * width < MIN_CELL_AREA_PX)
    small &= ~flat & ~detected
    if not (flat | small).any():
        return table, []
    counts = {"without an area": int(flat.sum()), "too small to be a cell": int(small.sum())}
    listed = ", ".join(f"{number} {reason}" for reason, number in counts.items() if number)
    cells = table[~(flat | small)]
    if not len(cells):
        raise CohortError(
            f"No box of '{path}' is a cell ({listed}); it needs y0 < y1 and x0 < x1, in pixels."
        )
    lost = sorted(set(table["bag"]) - set(cells["bag"]))
    notes = [f"bags without a cell left out: {enumerate_names(lost)}"] if lost else []
    return cells.reset_index(drop=True), [f"boxes that are no cells left out: {listed}", *notes]


def _ids(
    ids: NDArray[np.int64] | None, repeated: NDArray[np.bool_] | None, rows: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Return the ids of one image of one bag; a row without one, or listed again, gets the next free id."""
    if ids is None or repeated is None:
        return np.arange(1, len(rows) + 1, dtype=np.int64)
    own = ids[rows]
    fresh = repeated[rows] | (own < 0)
    own[fresh] = max(own.max(), 0) + 1 + np.arange(fresh.sum())
    return own
