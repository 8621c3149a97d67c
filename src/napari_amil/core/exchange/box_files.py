"""Read boxes and shapes of other programs: tables of boxes, Shapes layers of napari, Pascal VOC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, FLAG_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding
from napari_amil.core.base.tables import number_hint, read_table, refuse_twin_columns
from napari_amil.core.base.types import CELL_COLUMNS, Cells, box_outline
from napari_amil.core.exchange.annotation import (
    NO_AREA,
    Annotation,
    FoundObject,
    NoCellError,
    no_cell_reasons,
    refuse_without_cells,
    sum_left_out,
)
from napari_amil.core.exchange.polygons import as_pixels, bounds, fill_ids
from napari_amil.core.exchange.tables import boxes_of, load_table

SHAPE_COLUMNS = frozenset({"index", "shape-type", "vertex-index", "axis-0", "axis-1"})
"""Columns of every Shapes layer saved by napari."""
_CONVENTIONS = (
    tuple(BOX_COLUMNS),
    ("ymin", "xmin", "ymax", "xmax"),
    ("y", "x", "height", "width"),
    ("y", "x", "h", "w"),
)
"""Names of the columns; with height and width, y and x are the upper left corner."""
_IMAGE = ("image", "filename", "file_name", "file")
_KIND = "kind"
_PIXEL_EDGE = 0.5  # napari counts from the centre of the first pixel, boxes count from its edge
_ELLIPSE_POINTS = 32
_VOC_SIDES = ("ymin", "xmin", "ymax", "xmax")


def read_boxes(path: Path, classes: Collection[str] = ()) -> dict[str, Annotation]:
    """Return the boxes of every image of a table; the name is ``""`` where the table has no such column.

    Columns are ``y0, x0, y1, x1`` (or ``xmin ...``, or ``x, y, width, height`` of the upper left corner)
    in pixels, and where known ``image``, ``cell_id``, ``detection_score``, ``area_px``, the flags, ``status``
    (excluded cells are left out), ``patient``, ``fold`` and ``exhaustive`` (1 = every cell is listed). In a
    cell list of bags, which name some cells of an image, the cells are never taken as all. A box that is
    listed twice counts once. Boxes that are no cells are left out and counted.

    Parameters
    ----------
    path
        The table.
    classes
        Values of the column ``kind`` of objects that are cells; all objects where there is none.

    Raises
    ------
    AmilError
        If the table has no boxes, or none of them is a cell.
    """
    table = load_table(path)
    refuse_twin_columns(path, table)
    table.columns = [str(name).lower() for name in table]
    convention = next((names for names in _CONVENTIONS if set(names) <= set(table)), None)
    if convention is None:
        raise AmilError(
            f"The table '{path}' has no boxes; its header needs y0, x0, y1, x1 (or xmin, ymin, xmax, ymax) "
            "in pixels."
        )
    corners = table[list(convention)].apply(pd.to_numeric, errors="coerce").set_axis(BOX_COLUMNS, axis=1)
    _refuse_decimal_commas(path, table[list(convention)].astype(str).to_numpy().ravel().tolist())
    if convention[2][0] == "h":
        corners[["y1", "x1"]] += corners[["y0", "x0"]].to_numpy()
    table = pd.concat([table.drop(columns=[n for n in BOX_COLUMNS if n in table]), corners], axis=1)
    if "status" in table:
        table = table[table["status"] != "excluded"]
    if classes and _KIND in table:
        table = table[table[_KIND].isin(classes)]
    image = next((name for name in _IMAGE if name in table), None)
    table["image"] = "" if image is None else table[image].astype(str).str.replace("\\", "/")
    sampled = "bag" in table and "label" in table and "exhaustive" not in table
    found = {str(name): _of_image(rows, path, sampled) for name, rows in table.groupby("image", sort=False)}
    n_cells = sum(len(one.cells) for one in found.values())
    refuse_without_cells(str(path), n_cells, sum_left_out(found.values()))
    return found


def _refuse_decimal_commas(path: Path, sides: list[str]) -> None:
    """Refuse sides with a comma: in a table with commas between fields it may part thousands, too."""
    wrong = next((side for side in sides if number_hint(side)), None)
    if wrong is not None:
        raise AmilError(f"'{path}' has a box with the side '{wrong}', no number{number_hint(wrong)}.")


def _of_image(rows: pd.DataFrame, path: Path, sampled: bool) -> Annotation:
    """Return the annotation of the rows of one image."""
    patients = sorted(set(rows["patient"].astype(str)) - {""}) if "patient" in rows else []
    rows = rows[~rows.duplicated(BOX_COLUMNS) | rows[BOX_COLUMNS].isna().any(axis=1)]
    boxes = boxes_of(rows)
    scores = pd.to_numeric(rows.get("detection_score", pd.Series(np.nan, rows.index)), errors="coerce")
    not_marked = np.zeros(len(rows), dtype=bool)
    reasons = no_cell_reasons(boxes, [None] * len(rows), not_marked, np.isfinite(scores.to_numpy(np.float64)))
    left_out = Counter(reason for reason in reasons if reason)
    kept = np.array([not reason for reason in reasons], dtype=bool)
    rows, boxes = rows[kept], boxes[kept]
    known = {name: rows[name].to_numpy() for name in CELL_COLUMNS if name in rows}
    for name in {"cell_id", "detection_score", "area_px"} & known.keys():
        known[name] = pd.to_numeric(rows[name], errors="coerce").to_numpy(np.float64)
    if "cell_id" in known:
        known["cell_id"] = fill_ids(known["cell_id"])
    for name in set(FLAG_COLUMNS) & known.keys():
        known[name] = known[name].astype(bool)
    complete = not sampled and ("exhaustive" not in rows or bool((rows["exhaustive"] == 1).all()))
    with decoding(path, "holds a fold that is no whole number", "mend the column 'fold'"):
        folds = rows["fold"].dropna().tolist() if "fold" in rows else []
        fold = int(folds[0]) if folds else None
    kinds = rows[_KIND].astype(str) if _KIND in rows else ()
    records = tuple({_KIND: kind} for kind in kinds)
    return Annotation(Cells(boxes, **known), complete, tuple(patients), fold, None, left_out, records)


def read_shapes(path: Path, page: int = 0) -> Annotation:
    """Return the cells of a Shapes layer that napari saved, a CSV with one row per corner.

    Rectangles that lie straight are boxes; polygons, closed paths and ellipses are outlines. In a table
    with three axes the first is the page of the image. Lines, and what else is no cell, are left out and
    counted.

    Raises
    ------
    AmilError
        If the table is none of napari's, or none of its shapes is a cell.
    """
    table = read_table(path)
    if missing := SHAPE_COLUMNS - set(table):
        raise AmilError(
            f"'{path}' lacks {', '.join(sorted(missing))}; save the Shapes layer of napari as .csv."
        )
    axes = [f"axis-{number}" for number in range(4) if f"axis-{number}" in table]
    corners = table[["index", "vertex-index", *axes]].apply(pd.to_numeric, errors="coerce")
    if len(axes) > 3 or corners.isna().all().any():
        raise AmilError(f"'{path}' needs numbers for two axes, y and x, or three, page, y and x.")
    shapes = []
    for _, rows in corners.sort_values(["index", "vertex-index"]).groupby("index"):
        if len(axes) == 3 and not abs(float(rows[axes[0]].iloc[0]) - page) <= _PIXEL_EDGE:
            continue
        points = rows[axes[-2:]].to_numpy(np.float64) + _PIXEL_EDGE
        shapes.append((str(table.loc[rows.index[0], "shape-type"]), points))
    annotation = Annotation.from_objects(shapes, _shape)
    refuse_without_cells(str(path), len(annotation.cells), annotation.left_out)
    return annotation


def _shape(shape: tuple[str, NDArray[np.float64]]) -> FoundObject:
    """Return the kind and the corners of one shape as an object that may be a cell."""
    kind, points = shape
    if kind == "line":
        raise NoCellError("a line or point")
    if kind == "ellipse":
        turn = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, None]
        half = (points[1] - points[0]) / 2, (points[3] - points[0]) / 2
        points = points.mean(axis=0) + np.cos(turn) * half[0] + np.sin(turn) * half[1]
    outline = as_pixels(points)
    if len(outline) < 3:
        raise NoCellError(NO_AREA)
    corners = box_outline(bounds(outline))
    straight = {tuple(point) for point in outline.tolist()} == {tuple(point) for point in corners.tolist()}
    return FoundObject(bounds(outline), corners if straight else outline)


def read_voc(path: Path, classes: Collection[str] = ()) -> Annotation:
    """Return the boxes of the objects of one image in Pascal VOC's XML, as LabelImg writes it.

    Pixels count from 1, and the last belongs to the box. Boxes that are no cells are left out and counted.
    A file that declares entities is refused, since a few bytes of them can stand for endless text.

    Parameters
    ----------
    path
        The XML file.
    classes
        Names of the objects that are cells; all objects where there is none.

    Raises
    ------
    AmilError
        If the file is no such XML, or none of its objects is a cell.
    """
    with decoding(path, "is no Pascal VOC file with a bndbox for each object"):
        content = path.read_bytes()
        if b"<!ENTITY" in content.replace(b"\0", b""):
            raise ValueError("it declares entities")
        root = ElementTree.fromstring(content)
        found = [item for item in root.iter("object") if not classes or item.findtext("name") in classes]
    if root.tag != "annotation":
        raise AmilError(f"'{path}' is no Pascal VOC file: it begins with <{root.tag}>, not <annotation>.")
    annotation = Annotation.from_objects(found, _voc_object)
    refuse_without_cells(str(path), len(annotation.cells), annotation.left_out)
    return annotation


def _voc_object(item: ElementTree.Element) -> FoundObject:
    """Return one element ``object`` as an object that may be a cell."""
    sides = [float(item.findtext(f"bndbox/{side}", "")) for side in _VOC_SIDES]
    return FoundObject(as_pixels(sides) - np.array([1, 1, 0, 0], dtype=np.float32))
