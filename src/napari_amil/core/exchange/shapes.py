"""Shapes as napari saves them: a CSV with one row per corner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.tables import read_table
from napari_amil.core.base.types import Cells, box_outline, polygon_area

COLUMNS = frozenset({"index", "shape-type", "vertex-index", "axis-0", "axis-1"})
"""What the header of such a table has at least."""
_PIXEL_EDGE = 0.5  # napari counts from the centre of the first pixel, boxes count from its edge
_ELLIPSE_POINTS = 32


def read_shapes(path: Path, page: int = 0) -> Cells:
    """Return the cells of a Shapes layer that napari saved.

    Rectangles that lie straight are boxes; polygons, closed paths and ellipses are outlines. In a table
    with three axes the first is the page of the image.

    Raises
    ------
    AmilError
        If the table is none of napari's, or a shape has no area.
    """
    table = read_table(path)
    if missing := COLUMNS - set(table):
        raise AmilError(
            f"'{path}' lacks {', '.join(sorted(missing))}; save the Shapes layer of napari as .csv."
        )
    axes = sorted((name for name in table if name.startswith("axis-")), key=lambda name: int(name[5:]))
    corners = table[["index", "vertex-index", *axes]].apply(pd.to_numeric, errors="coerce")
    if len(axes) > 3 or corners.isna().any().any():
        raise AmilError(f"'{path}' needs numbers for two axes, y and x, or three, page, y and x.")
    outlines = []
    for index, rows in corners.sort_values(["index", "vertex-index"]).groupby("index"):
        if len(axes) == 3 and round(float(rows[axes[0]].iloc[0])) != page:
            continue
        points = rows[axes[-2:]].to_numpy(np.float64) + _PIXEL_EDGE
        outlines.append(_outline(points, str(table.loc[rows.index[0], "shape-type"]), int(index), path))
    boxes = [np.concatenate([outline.min(axis=0), outline.max(axis=0)]) for outline in outlines]
    areas = np.array([polygon_area(outline) for outline in outlines], dtype=np.float32)
    return Cells(np.array(boxes, np.float32).reshape(-1, 4), tuple(outlines), area_px=areas)


def _outline(points: NDArray[np.float64], kind: str, index: int, path: Path) -> NDArray[np.float32]:
    """Return the outline of one shape."""
    if kind == "ellipse":
        turn = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, None]
        half = (points[1] - points[0]) / 2, (points[3] - points[0]) / 2
        points = points.mean(axis=0) + np.cos(turn) * half[0] + np.sin(turn) * half[1]
    outline = points.astype(np.float32)
    if kind == "line" or len(outline) < 3 or polygon_area(outline) < 1:
        raise AmilError(
            f"Shape {index} of '{path}' is a {kind} without an area; draw boxes, ellipses or polygons."
        )
    corners = box_outline(np.concatenate([outline.min(axis=0), outline.max(axis=0)]))
    straight = {tuple(point) for point in outline.tolist()} == {tuple(point) for point in corners.tolist()}
    return corners if straight else outline
