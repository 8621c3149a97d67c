"""Tables of boxes, ours or another program's: one row per cell, many images or one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import BOX_COLUMNS, FLAG_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import CELL_COLUMNS, Cells
from napari_amil.core.exchange.annotation import Annotation
from napari_amil.core.exchange.polygons import fill_ids
from napari_amil.core.exchange.tables import load_table

_CONVENTIONS = (
    tuple(BOX_COLUMNS),
    ("ymin", "xmin", "ymax", "xmax"),
    ("y", "x", "height", "width"),
    ("y", "x", "h", "w"),
)
"""Names of the columns; with height and width, y and x are the upper left corner."""
_IMAGE = ("image", "filename", "file_name", "file")


def read_boxes(path: Path) -> dict[str, Annotation]:
    """Return the boxes of every image of a table; the name is ``""`` where the table has no such column.

    Columns are ``y0, x0, y1, x1`` (or ``xmin ...``, or ``x, y, width, height`` of the upper left corner)
    in pixels, and where known ``image``, ``cell_id``, ``detection_score``, ``area_px``, the flags, ``status``
    (excluded cells are left out), ``patient``, ``fold`` and ``exhaustive`` (1 = every cell is listed). In a
    cell list of bags, which name some cells of an image, the cells are never taken as all. A box that is
    listed twice counts once.

    Raises
    ------
    AmilError
        If the table has no boxes, or one that cannot be used.
    """
    table = load_table(path)
    table = table.rename(columns={name: str(name).lower() for name in table})
    convention = next((names for names in _CONVENTIONS if set(names) <= set(table)), None)
    if convention is None:
        raise AmilError(
            f"The table '{path}' has no boxes; its header needs y0, x0, y1, x1 (or xmin, ymin, xmax, ymax) "
            "in pixels."
        )
    corners = table[list(convention)].apply(pd.to_numeric, errors="coerce").set_axis(BOX_COLUMNS, axis=1)
    if convention[2][0] == "h":
        corners[["y1", "x1"]] += corners[["y0", "x0"]].to_numpy()
    table = pd.concat([table.drop(columns=[n for n in BOX_COLUMNS if n in table]), corners], axis=1)
    if "status" in table:
        table = table[table["status"] != "excluded"]
    image = next((name for name in _IMAGE if name in table), None)
    table["image"] = "" if image is None else table[image].astype(str).str.replace("\\", "/")
    sampled = "bag" in table and "label" in table and "exhaustive" not in table
    return {str(name): _of_image(rows, path, sampled) for name, rows in table.groupby("image", sort=False)}


def _of_image(rows: pd.DataFrame, path: Path, sampled: bool) -> Annotation:
    """Return the annotation of the rows of one image."""
    patients = sorted(set(rows["patient"].astype(str)) - {""}) if "patient" in rows else []
    rows = rows.drop_duplicates(BOX_COLUMNS)
    known = {name: rows[name].to_numpy() for name in CELL_COLUMNS if name in rows}
    if "cell_id" in known:
        known["cell_id"] = fill_ids(pd.to_numeric(rows["cell_id"], errors="coerce").fillna(0).to_numpy())
    for name in set(FLAG_COLUMNS) & known.keys():
        known[name] = known[name].astype(bool)
    try:
        cells = Cells(rows[BOX_COLUMNS].to_numpy(np.float32), **known)
    except ValueError as error:
        image = rows["image"].iloc[0]
        raise AmilError(
            f"The table '{path}' holds a box of '{image}' that cannot be used: {error}"
        ) from error
    complete = not sampled and ("exhaustive" not in rows or bool((rows["exhaustive"] == 1).all()))
    fold = int(rows["fold"].iloc[0]) if "fold" in rows and pd.notna(rows["fold"].iloc[0]) else None
    return Annotation(cells, complete, tuple(patients), fold)
