"""Cells of any file that this program or another one wrote: CSV, Parquet, GeoJSON, COCO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json
from napari_amil.core.base.types import Cells, box_outline
from napari_amil.core.exchange.coco import read_coco
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.core.exchange.polygons import fill_ids, from_wkt, to_wkt
from napari_amil.core.exchange.tables import load_table, write_table

OUTLINE = "outline"
"""Column with the outline as well-known text."""
TABLES = (".csv", ".parquet")

CellTable = tuple[Cells, pd.DataFrame]
"""Cells of one image, and every column that the file has about them, row for row."""


def write_cell_table(cells: Cells, table: pd.DataFrame, path: Path) -> None:
    """Write one row per cell with every column of ``table`` and the outline as well-known text.

    Raises
    ------
    AmilError
        If the file cannot be written, or is neither CSV nor Parquet.
    """
    outlines = [to_wkt(outline, box) for outline, box in zip(cells.outlines, cells.boxes, strict=True)]
    write_table(table.assign(**{OUTLINE: outlines}), path)


def read_cells(path: Path) -> dict[str, CellTable]:
    """Return the cells of every image in a file, by the name of the image.

    A table needs ``y0, x0, y1, x1``; without ``image`` all cells are of one image, called like the file.

    Raises
    ------
    AmilError
        If the file holds no cells.
    """
    if path.suffix.lower() in TABLES:
        return _of_table(load_table(path), path)
    content = read_json(path)
    if isinstance(content, dict) and "annotations" in content:
        return _of_coco(read_coco(path), content)
    cells = read_geojson(path)
    return {path.stem: (cells, _with_measurements(cells, content))}


def _of_table(table: pd.DataFrame, path: Path) -> dict[str, CellTable]:
    missing = [name for name in BOX_COLUMNS if name not in table]
    if missing:
        raise AmilError(f"'{path}' is no table of cells: it lacks the columns {', '.join(missing)}.")
    images = table["image"] if "image" in table else pd.Series(path.stem, table.index)
    try:
        return {str(name): _cells(part) for name, part in table.groupby(images.to_numpy(), sort=False)}
    except ValueError as error:
        raise AmilError(f"'{path}' holds a cell that cannot be used: {error}") from error


def _cells(part: pd.DataFrame) -> CellTable:
    ids = part["cell_id"].fillna(0).to_numpy() if "cell_id" in part else np.zeros(len(part))
    part = part.reset_index(drop=True).assign(cell_id=fill_ids(ids))
    boxes = part[BOX_COLUMNS].to_numpy(np.float32)
    drawn = part[OUTLINE].fillna("").tolist() if OUTLINE in part else [""] * len(part)
    outlines = tuple(
        from_wkt(text) if text else box_outline(box) for text, box in zip(drawn, boxes, strict=True)
    )
    return Cells.from_table(part, outlines), part.drop(columns=OUTLINE, errors="ignore")


def _of_coco(found: dict[str, Cells], content: dict[str, Any]) -> dict[str, CellTable]:
    """Return the cells of a COCO file with the ``attributes`` of their annotations."""
    names = {image["id"]: str(image["file_name"]) for image in content["images"]}
    said: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd"):
            said[names[annotation["image_id"]]].append(_entry(annotation, "attributes"))
    return {name: (cells, _beside(cells.table(), said[name])) for name, cells in found.items()}


def _with_measurements(cells: Cells, content: Any) -> pd.DataFrame:  # noqa: ANN401
    """Return the table of the cells of a GeoJSON file with its other measurements and texts."""
    table = cells.table()
    features = content.get("features", []) if isinstance(content, dict) else content
    features = [one for one in features if isinstance(one, dict) and one.get("geometry")]
    if len(features) != len(table):
        return table
    found = [one.get("properties") or {} for one in features]
    return _beside(table, *([_entry(one, name) for one in found] for name in ("measurements", "metadata")))


def _entry(of: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an entry that should be a mapping; nothing where another program has put something else."""
    value = of.get(name)
    return value if isinstance(value, dict) else {}


def _beside(table: pd.DataFrame, *said: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the table with what is said of each of its rows and does not stand in it."""
    parts = [pd.DataFrame(rows, index=table.index) for rows in said]
    others = [part.drop(columns=[name for name in part if name in table]) for part in parts]
    return pd.concat([table, *(part for part in others if part.shape[1])], axis=1)
