"""Cells of many images as one COCO instances file, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import FLAG_COLUMNS
from napari_amil.core.base.files import decoding, read_json, write_exact_json
from napari_amil.core.base.types import Cells, polygon_area
from napari_amil.core.exchange.annotation import (
    TOO_SMALL,
    Annotation,
    FoundObject,
    NoCellError,
    refuse_without_cells,
    sum_left_out,
)
from napari_amil.core.exchange.labels import outline_of_mask
from napari_amil.core.exchange.polygons import (
    as_pixels,
    bounds,
    largest_outline,
    mask_of_runs,
    ring,
    still_fits,
)

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
    write_exact_json({**content, "categories": CATEGORIES, "annotations": annotations}, path)


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
    """Return the known values of a row for JSON: without NaN and empty texts."""
    numbers = {
        str(name): float(value)
        for name, value in row.items()
        if isinstance(value, int | float | np.number) and np.isfinite(value)
    }
    return numbers | {str(name): value for name, value in row.items() if isinstance(value, str) and value}


def read_coco(path: Path, classes: Collection[str] = ()) -> dict[str, Annotation]:
    """Return the cells of every image of a COCO instances file, of this program or of another one.

    Of an outline in several parts the largest counts, and a cell without a polygon or mask has its box
    as outline. Crowds, and objects that are no cells (`Annotation.from_objects`), are left out and counted,
    those of no image with the first. The record of a cell is its entry ``attributes``.

    Parameters
    ----------
    path
        The JSON file.
    classes
        Names of the categories that are cells; all categories where there is none.

    Raises
    ------
    AmilError
        If the file is no COCO instances file, or none of its objects is a cell.
    """
    content = read_json(path)
    with decoding(path, "is no COCO instances file with polygons or masks", "export it as such"):
        names = _names(content["images"])
        objects: dict[str, list[Any]] = {name: [] for name in names.values()}
        wanted = _wanted(content, classes)
        astray = 0
        if not isinstance(content["annotations"], list):
            raise TypeError("its annotations are no list")
        for annotation in content["annotations"]:
            if wanted is not None and _entry(annotation, "category_id") not in wanted:
                continue
            name = names.get(_entry(annotation, "image_id"))
            astray += name is None
            objects.get(str(name), []).append(annotation)
        found = {name: Annotation.from_objects(own, _object) for name, own in objects.items()}
    if astray and found:
        first = next(iter(found))
        left_out = {**found[first].left_out, "of no image in the file": astray}
        found[first] = replace(found[first], left_out=left_out)
    n_cells = sum(len(one.cells) for one in found.values())
    refuse_without_cells(str(path), n_cells, sum_left_out(found.values()))
    return found


def _names(images: list[Any]) -> dict[Any, str]:
    """Return ``id -> name`` of the images; an entry without both is none.

    Raises
    ------
    ValueError
        If two images share an id, so that nobody knows whose the annotations are.
    """
    names: dict[Any, str] = {}
    for image in images:
        number, name = _entry(image, "id"), _entry(image, "file_name")
        if number is None or name is None:
            continue
        plain = str(name).replace("\\", "/")
        if names.setdefault(number, plain) != plain:
            raise ValueError(f"'{names[number]}' and '{plain}' have the same id, {number}")
    return names


def _entry(record: Any, key: str) -> int | float | str | None:  # noqa: ANN401
    """Return a number or text of a record, None where there is none."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, int | float | str) else None


def _wanted(content: dict[str, Any], classes: Collection[str]) -> set[int] | None:
    """Return the numbers of the categories called ``classes``, None for all."""
    if not classes:
        return None
    return {entry["id"] for entry in content.get("categories", []) if entry["name"] in classes}


def _object(annotation: dict[str, Any]) -> FoundObject:
    """Return one annotation as an object that may be a cell."""
    if annotation.get("iscrowd"):
        raise NoCellError("a crowd of cells")
    outline = _outline(annotation.get("segmentation"))
    bbox = annotation.get("bbox")
    if bbox is None and outline is None:
        raise ValueError("an annotation has neither a box nor an outline")
    size: Any = annotation.get("area")
    if bbox is not None:
        x, y, width, height = (float(side) for side in bbox)
        box = as_pixels([y, x, y + height, x + width])
        size = width * height if size is None else float(size)
    if outline is not None and (bbox is None or not still_fits(outline, box)):
        box, size = bounds(outline), polygon_area(outline)
    attributes = annotation.get("attributes")
    numbers = {"detection_score": annotation.get("score"), "cell_id": annotation.get("cell_id")}
    columns = {name: float(value) for name, value in numbers.items() if value is not None}
    flags = {name: bool(annotation.get(name, False)) for name in FLAG_COLUMNS}
    record = attributes if isinstance(attributes, dict) else {}
    return FoundObject(box, outline, {"area_px": float(size), **columns, **flags}, record)


def _outline(segmentation: Any) -> NDArray[np.float32] | None:  # noqa: ANN401
    """Return the largest polygon of a segmentation, None where there is none."""
    if not segmentation:
        return None
    if not isinstance(segmentation, dict):
        return largest_outline([np.reshape(part, (-1, 2)).tolist() for part in segmentation])
    mask, corner = mask_of_runs(segmentation)
    outline = outline_of_mask(mask)
    if outline is None:
        raise NoCellError(TOO_SMALL)
    return (outline + corner).astype(np.float32)
