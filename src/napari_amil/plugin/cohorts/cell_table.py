"""The table of cells that a gallery shows, of open images or of a scored cohort."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, menu_names
from napari_amil.plugin.cohorts.scored_folder import (
    ScoredFolder,
    file_of,
    read_scored_folder,
    typical_side_px,
)
from napari_amil.plugin.cohorts.thumbnails import Crop
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.crops import PixelSource, source_of_file, source_of_layer, square_around
from napari_amil.plugin.layers.rows import CELL_TYPE, record_of
from napari_amil.plugin.layers.selection import CellKey, KeyRows

GROUPS = ("status", "label", "predicted", "cell_type", "type")
"""Columns of words by which cells are filtered."""
_FEW = 50


@dataclass(eq=False)
class CellTable:
    """Rows of cells, each on a field.

    Parameters
    ----------
    table
        One row per cell with the columns of the documentation; its index counts from 0.
    fields
        The fields; one whose image is not there is None.
    field_of_row
        ``(n_cells,)`` which field each row lies on.
    """

    table: pd.DataFrame
    fields: list[PixelSource | None] = field(default_factory=list)
    field_of_row: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))

    def __post_init__(self) -> None:
        columns: dict[str, Any] = {name: self.table[name] for name in BOX_COLUMNS if name in self.table}
        self._boxes = np.stack([np.asarray(c, float) for c in columns.values()], axis=1) if columns else None
        self._typical_px = typical_side_px(self.table) if len(self.table) else 1.0
        ids = self.table["cell_id"].to_numpy(np.int64) if len(self.table) else np.zeros(0, np.int64)
        self._ids = ids
        self._images = self.table["image"].to_numpy(object) if len(self.table) else np.zeros(0, object)
        self._bags = self.table["bag"].to_numpy(object) if "bag" in self.table else None
        self._rows: KeyRows | None = None
        self.scores = [name for name in menu_names(self.table) if self.table[name].notna().any()]
        """Columns of numbers that some cell has, the most telling first."""
        self.kinds = {name: _kinds(self.table[name]) for name in GROUPS if name in self.table}
        """The different words in the columns that group cells."""

    def __len__(self) -> int:
        return len(self.table)

    def key(self, row: int) -> CellKey:
        """Return the key of the cell in ``row``."""
        bag = "" if self._bags is None else str(self._bags[row])
        return CellKey(str(self._images[row]), int(self._ids[row]), bag)

    def rows_of(self, keys: Iterable[CellKey]) -> list[int]:
        """Return the rows of the cells that are in the table; of a key in several bags the first."""
        wanted = list(keys)
        if len(wanted) <= _FEW and self._rows is None:
            firsts = (self._first_row(key) for key in wanted)
            return [row for row in firsts if row is not None]
        if wanted and self._rows is None:
            self._rows = KeyRows(self._images, self._ids, self._bags)
        found = [self._rows.rows(key) for key in wanted] if self._rows is not None else []
        return [rows[0] for rows in found if rows]

    def _first_row(self, key: CellKey) -> int | None:
        same_number = np.flatnonzero(self._ids == key.cell_id)
        bags = self._bags if key.bag else None
        for row in same_number:
            if self._images[row] == key.image and (bags is None or str(bags[row]) == key.bag):
                return int(row)
        return None

    def crop(self, row: int) -> Crop | None:
        """Return the window around the cell in ``row``; None if its image is not there."""
        field_here = self.fields[self.field_of_row[row]]
        if field_here is None or self._boxes is None or not np.isfinite(self._boxes[row]).all():
            return None
        return Crop(field_here, square_around(self._boxes[row], self._typical_px))

    def given_name(self, row: int) -> str:
        """Return the type that a person gave the cell in ``row``; empty without one."""
        name = self.table[CELL_TYPE].iat[row] if CELL_TYPE in self.table else ""
        return name if isinstance(name, str) else ""

    def values(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers; NaN where there is no such column."""
        if column not in self.table:
            return np.full(len(self), np.nan)
        return np.asarray(pd.to_numeric(self.table[column], errors="coerce"), float)


def _kinds(column: pd.Series) -> list[str]:
    return sorted({str(word) for word in column.dropna().unique()} - {""})


def no_cells() -> CellTable:
    """Return the table of nothing."""
    return CellTable(pd.DataFrame({"image": [], "cell_id": []}))


def open_cells(layers: Iterable[Any]) -> CellTable:
    """Return the cells of every cell layer whose image is open too."""
    everything = list(layers)
    images = {str(layer.unique_id): layer for layer in everything if isinstance(layer, Image)}
    parts: list[pd.DataFrame] = []
    fields: list[PixelSource | None] = []
    owners: list[NDArray[np.intp]] = []
    for layer in cell_layers(everything):
        record = record_of(layer)
        if record is None or not layer.nshapes or record.image_id not in images:
            continue
        rows = layer.features.iloc[: layer.nshapes]
        if record.bag is not None:
            rows = rows.assign(predicted=str(record.bag["predicted"]))
        owners.append(np.full(len(rows), len(parts), dtype=np.intp))
        parts.append(rows)
        fields.append(source_of_layer(images[record.image_id], record.place))
    if not parts:
        return no_cells()
    return CellTable(pd.concat(parts, ignore_index=True), fields, np.concatenate(owners))


def read_cohort(folder: Path) -> tuple[ScoredFolder, CellTable]:
    """Return a scored folder and its cells, ready to be shown; may be called in any thread.

    Raises
    ------
    AmilError
        If the folder holds no table of cells that can be used.
    """
    scored = read_scored_folder(folder)
    return scored, cohort_cells(scored, scored.images)


def cohort_cells(scored: ScoredFolder, images: Path | None) -> CellTable:
    """Return the cells of a scored cohort whose images lie below ``images``; no image is read yet."""
    codes, names = pd.factorize(scored.cells["image"])
    fields = [None if images is None else source_of_file(*file_of(images, name)) for name in names]
    return CellTable(scored.cells, fields, codes)
