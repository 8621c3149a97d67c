"""Names of cells of a scored folder, kept in it as ``names.csv``, and the types learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import replacing
from napari_amil.plugin.layers.cell_names import NAME_COLUMNS
from napari_amil.plugin.layers.rows import CELL_TYPE, TYPE, TYPE_PROBABILITY

NAMES = "names.csv"
TYPES = "types"
"""Folder of the type classifier and its tables, below the scored folder."""
_TYPES_TABLE = "types.csv"


def read_names(folder: Path) -> pd.DataFrame:
    """Return the names given to cells of a scored folder; none where the table is missing or damaged."""
    try:
        table = pd.read_csv(folder / NAMES, dtype={"image": str, CELL_TYPE: str}, keep_default_na=False)
        return table[NAME_COLUMNS]
    except (OSError, ValueError, KeyError):
        return pd.DataFrame(columns=NAME_COLUMNS)


def give_names(folder: Path, given: pd.DataFrame) -> None:
    """Add names to those of a scored folder; an empty name takes one back.

    Parameters
    ----------
    given
        With `NAME_COLUMNS`.

    Raises
    ------
    AmilError
        If the table cannot be written.
    """
    table = joined(read_names(folder), given[NAME_COLUMNS])
    table = table[~pd.Series(_places(table)).duplicated(keep="last").to_numpy()]
    table = table[table[CELL_TYPE] != ""]
    try:
        with replacing(folder / NAMES) as partial:
            table.to_csv(partial, index=False)
    except OSError as error:
        raise AmilError(f"The names cannot be written to '{folder / NAMES}' ({error}).") from error


def joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return names of two tables as one."""
    parts = [table for table in (first, second) if len(table)]
    return pd.concat(parts, ignore_index=True) if parts else first


def with_names(folder: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of a scored folder with the names that were given there, and the learned types."""
    names, types = read_names(folder), _read_types(folder, len(cells))
    if len(names):
        given = dict(zip(_places(names), names[CELL_TYPE], strict=True))
        found = np.array([given.get(place, "") for place in _places(cells)], dtype=object)
        own = cells[CELL_TYPE].fillna("").to_numpy(object) if CELL_TYPE in cells else ""
        cells = cells.assign(**{CELL_TYPE: np.where(found != "", found, own)})
    if types is not None and (types["cell_id"].to_numpy() == cells["cell_id"].to_numpy()).all():
        learned = {name: types[name].to_numpy() for name in (TYPE, TYPE_PROBABILITY)}
        cells = cells.assign(**learned)
    return cells


def with_name(cells: pd.DataFrame, rows: list[int], name: str) -> NDArray[np.object_]:
    """Return the column of names with another name in some rows."""
    column = cells[CELL_TYPE].fillna("") if CELL_TYPE in cells else pd.Series("", cells.index)
    names = column.to_numpy(object, copy=True)
    names[rows] = name
    return names


def read_types(path: Path) -> pd.DataFrame:
    """Return the table of learned types in a file.

    Raises
    ------
    AmilError
        If it cannot be read.
    """
    try:
        table = pd.read_csv(path, dtype={"image": str, "bag": str, TYPE: str, CELL_TYPE: str})
        return table.assign(**{TYPE: table[TYPE].fillna("")})
    except (OSError, ValueError, KeyError) as error:
        raise AmilError(f"The types '{path}' cannot be read ({error}); learn them again.") from error


def _read_types(folder: Path, n_cells: int) -> pd.DataFrame | None:
    path = folder / TYPES / _TYPES_TABLE
    try:
        table = read_types(path) if path.is_file() else None
    except AmilError:
        return None
    return table if table is not None and len(table) == n_cells else None


def _places(table: pd.DataFrame) -> list[tuple[str, bytes]]:
    """Return the key of the cell of each row: its image and its box, to a pixel."""
    boxes: NDArray[np.int64] = np.rint(table[BOX_COLUMNS].to_numpy(np.float64)).astype(np.int64)
    return [(str(image), box.tobytes()) for image, box in zip(table["image"], boxes, strict=True)]
