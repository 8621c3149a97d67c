"""Cells of many images as one COCO instances file, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import FLAG_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json, write_json
from napari_amil.core.base.types import Cells, box_outline, polygon_area
from napari_amil.core.exchange.polygons import bounds, fill_ids, outline_of, ring, still_fits

CATEGORIES = [{"id": 1, "name": "cell", "supercategory": ""}]


def write_coco(
    images: Mapping[str, tuple[tuple[int, int], Cells]],
    path: Path,
    scores: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write the cells of many images as COCO instances with polygons.

    Beside the fields of COCO an annotation carries ``score`` where there is one, ``cell_id`` and the
    flags, and ``attributes`` with every other number and text that is known; other programs ignore them.

    Parameters
    ----------
    images
        Name of an image -> its height and width in pixels, and its cells.
    path
        File to write.
    scores
        Name of an image -> one row per cell, in their order.

    Raises
    ------
    ValueError
        If there are not as many rows of scores as cells.
    AmilError
        If the file cannot be written.
    """
    annotations: list[dict[str, Any]] = []
    records = []
    for number, (name, ((height, width), cells)) in enumerate(images.items(), start=1):
        records.append({"id": number, "file_name": name, "height": int(height), "width": int(width)})
        attributes = _attributes(cells, (scores or {}).get(name))
        for row in range(len(cells)):
            place = {"id": len(annotations) + 1, "image_id": number}
            annotations.append({**place, **_annotation(cells, row), **attributes[row]})
    content = {"info": {"description": "Cells found by napari-amil"}, "licenses": [], "images": records}
    write_json({**content, "categories": CATEGORIES, "annotations": annotations}, path)


def _annotation(cells: Cells, row: int) -> dict[str, Any]:
    """Return one cell as COCO has it: the box as x, y, width, height."""
    y0, x0, y1, x1 = cells.boxes[row].astype(float).tolist()
    points = ring(cells.outlines[row], cells.boxes[row])
    annotation: dict[str, Any] = {
        "category_id": 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": float(cells.area_px[row]),
        "segmentation": [[value for point in points for value in point]],
        "iscrowd": 0,
        "cell_id": int(cells.cell_id[row]),
        **{name: bool(getattr(cells, name)[row]) for name in FLAG_COLUMNS},
    }
    score = float(cells.detection_score[row])
    return annotation if np.isnan(score) else {**annotation, "score": score}


def _attributes(cells: Cells, scores: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return for each cell the entry ``attributes``, or nothing."""
    if scores is None:
        return [{} for _ in range(len(cells))]
    if len(scores) != len(cells):
        raise ValueError(f"There are {len(scores)} rows of scores for {len(cells)} cells.")
    known = set(cells.table())
    rows = (
        {name: value for name, value in row.items() if name not in known} for row in scores.to_dict("records")
    )
    return [{"attributes": _plain(row)} for row in rows]


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return what is known in a row, as JSON has it: without NaN, and without empty texts."""
    numbers = {
        str(name): float(value)
        for name, value in row.items()
        if isinstance(value, int | float | np.number) and np.isfinite(value)
    }
    return numbers | {str(name): value for name, value in row.items() if isinstance(value, str) and value}


def read_coco(path: Path, classes: Collection[str] = ()) -> dict[str, Cells]:
    """Return the cells of every image of a COCO instances file, of this program or of another one.

    Crowds are left out; of an outline in several parts the largest counts, and a cell without a
    polygon has its box as outline.

    Parameters
    ----------
    path
        The JSON file.
    classes
        Names of the categories that are cells; all categories where there is none.

    Raises
    ------
    AmilError
        If the file is no COCO instances file, or holds run-length masks.
    """
    content = read_json(path)
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
        wanted = _wanted(content, classes)
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd") and (wanted is None or annotation["category_id"] in wanted):
                rows[names[annotation["image_id"]]].append(_row(annotation))
        return {name: _cells(found) for name, found in rows.items()}
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise AmilError(
            f"'{path}' is no COCO instances file with polygons ({error}); export it as such."
        ) from error


def _wanted(content: dict[str, Any], classes: Collection[str]) -> set[int] | None:
    """Return the numbers of the categories called ``classes``, None for all."""
    if not classes:
        return None
    return {entry["id"] for entry in content.get("categories", []) if entry["name"] in classes}


def _row(annotation: dict[str, Any]) -> dict[str, Any]:
    """Return one annotation as the columns of a cell and its outline."""
    x, y, width, height = annotation["bbox"]
    box = np.array([y, x, y + height, x + width], dtype=np.float32)
    outline = _outline(annotation.get("segmentation"))
    size = float(annotation.get("area", width * height))
    if outline is not None and not still_fits(outline, box):
        box, size = bounds(outline), polygon_area(outline)
    return {
        "box": box,
        "outline": outline,
        "area_px": size,
        "detection_score": float(annotation.get("score", np.nan)),
        "cell_id": int(annotation.get("cell_id", 0)),
        **{name: bool(annotation.get(name, False)) for name in FLAG_COLUMNS},
    }


def _outline(segmentation: Any) -> NDArray[np.float32] | None:  # noqa: ANN401
    """Return the largest polygon of a segmentation, None where there is none."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        raise ValueError("a mask is run-length encoded")
    return max((outline_of(np.reshape(part, (-1, 2)).tolist()) for part in segmentation), key=polygon_area)


def _cells(rows: list[dict[str, Any]]) -> Cells:
    """Return the cells of one image."""
    table = pd.DataFrame(rows, columns=["area_px", "detection_score", "cell_id", *FLAG_COLUMNS])
    boxes = np.array([row["box"] for row in rows], dtype=np.float32).reshape(-1, 4)
    drawn = [row["outline"] for row in rows]
    outlines = [box_outline(box) if own is None else own for own, box in zip(drawn, boxes, strict=True)]
    return Cells(
        boxes,
        tuple(outlines),
        detection_score=table["detection_score"].to_numpy(np.float32),
        area_px=table["area_px"].to_numpy(np.float32),
        touches_border=table["touches_border"].to_numpy(np.bool_),
        overlaps=table["overlaps"].to_numpy(np.bool_),
        cell_id=fill_ids(table["cell_id"].to_numpy(np.int64)),
    )
