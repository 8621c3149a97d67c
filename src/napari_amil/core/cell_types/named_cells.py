"""Names that a person gave to cells, from a table, found again among the cells of a scored folder."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError

_LEAST_IOU = 0.5
NAME = "cell_type"


def named_rows(cells: pd.DataFrame, given: pd.DataFrame) -> tuple[NDArray[np.str_], int]:
    """Return the given name of each cell ``(n_cells,)``, ``""`` without one, and how many found no cell.

    A name belongs to the cell whose box overlaps its own the most (intersection over union at least 0.5)
    where the table has boxes, else to the cell of the same ``image`` and ``cell_id``.

    Parameters
    ----------
    cells
        One row per cell, with ``image``, ``cell_id`` and the box.
    given
        With ``image``, ``cell_type``, and the box or ``cell_id``.

    Raises
    ------
    AmilError
        If columns are missing, or no name finds a cell.
    """
    by_box = set(BOX_COLUMNS) <= set(given)
    missing = {"image", NAME} - set(given)
    if missing or not (by_box or "cell_id" in given):
        wanted = "image, cell_type, and either y0, x0, y1, x1 or cell_id"
        raise AmilError(f"The table of names has the columns {', '.join(given)}; it needs {wanted}.")
    named = given[given[NAME].notna() & (given[NAME].astype(str).str.strip() != "")]
    found = np.full(len(cells), "", dtype=object)
    rows_of = cells.groupby("image", sort=False).indices
    n_lost = 0
    for image, own in named.groupby("image", sort=False):
        rows = rows_of.get(image, np.empty(0, np.int64))
        texts = own[NAME].astype(str).str.strip().to_numpy()
        here = cells.iloc[rows]
        matched = _by_box(here, own) if by_box else _by_id(here, own)
        n_lost += int((matched < 0).sum())
        for match, text in zip(matched, texts, strict=True):
            if match >= 0:
                same = (here[BOX_COLUMNS] == here[BOX_COLUMNS].iloc[match]).all(axis=1)
                found[rows[same.to_numpy()]] = text  # a cell of several bags is one cell
    if not (found != "").any():
        first = "" if not len(named) else f", such as '{named['image'].iloc[0]}'"
        raise AmilError(
            f"None of the {len(named)} names belongs to a cell of this folder; check that the images are "
            f"called alike{first}."
        )
    return found.astype(np.str_), n_lost


def _by_box(here: pd.DataFrame, own: pd.DataFrame) -> NDArray[np.int64]:
    """Return the row of the cell that each name belongs to by its box, -1 without one."""
    if not len(here):
        return np.full(len(own), -1)
    a, b = own[BOX_COLUMNS].to_numpy(np.float64)[:, None], here[BOX_COLUMNS].to_numpy(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=2) + (b[..., 2:] - b[..., :2]).prod(axis=2)
    iou = shared / (areas - shared)
    best = iou.argmax(axis=1)
    return np.where(iou.max(axis=1) >= _LEAST_IOU, best, -1)


def _by_id(here: pd.DataFrame, own: pd.DataFrame) -> NDArray[np.int64]:
    """Return the row of the cell that each name belongs to by its id, -1 without one."""
    place = {int(number): row for row, number in reversed(list(enumerate(here["cell_id"])))}
    return np.array([place.get(int(number), -1) for number in own["cell_id"]], dtype=np.int64)
