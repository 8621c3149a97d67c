"""Cells of any file that this program or another one wrote: CSV, Parquet, GeoJSON, COCO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding, read_json
from napari_amil.core.base.types import Cells, box_outline
from napari_amil.core.exchange.annotation import (
    Annotation,
    left_out_sentence,
    no_cell_reasons,
    refuse_without_cells,
    sum_left_out,
)
from napari_amil.core.exchange.coco import read_coco
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.core.exchange.polygons import fill_ids, from_wkt, to_wkt
from napari_amil.core.exchange.tables import boxes_of, load_table, write_table

OUTLINE = "outline"
"""Column with the outline as well-known text."""
TABLES = (".csv", ".parquet")
_NUMBERS = ("cell_id", "detection_score", "area_px")

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


def read_cells(path: Path, warn: Callable[[str], None] | None = None) -> dict[str, CellTable]:
    """Return the cells of every image in a file, by the name of the image.

    A table needs ``y0, x0, y1, x1``; without ``image`` all cells are of one image, called like the file.

    Parameters
    ----------
    path
        CSV, Parquet, GeoJSON or COCO.
    warn
        Is called with a sentence if objects of the file are left out, since they are no cells.

    Raises
    ------
    AmilError
        If the file holds no cells.
    """
    if path.suffix.lower() in TABLES:
        tables, left_out = _of_table(load_table(path), path)
    else:
        content = read_json(path)
        is_coco = isinstance(content, dict) and "annotations" in content
        found = read_coco(path) if is_coco else {path.stem: read_geojson(path)}
        left_out = sum_left_out(found.values())
        parts = ("",) if is_coco else ("measurements", "metadata")
        tables = {name: (one.cells, _beside(one, parts)) for name, one in found.items()}
    if left_out and warn is not None:
        warn(left_out_sentence(path.name, left_out))
    return tables


def _of_table(table: pd.DataFrame, path: Path) -> tuple[dict[str, CellTable], Counter[str]]:
    """Return the cells of a table by image, and how many of its rows are no cells, by the reason."""
    missing = [name for name in BOX_COLUMNS if name not in table]
    if missing:
        raise AmilError(f"'{path}' is no table of cells: it lacks the columns {', '.join(missing)}.")
    with decoding(path, "holds a cell that cannot be used"):
        numbers = [name for name in (*BOX_COLUMNS, *_NUMBERS) if name in table]
        table = table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers})
        boxes = boxes_of(table)
        scored = np.isfinite(
            table.get("detection_score", pd.Series(np.nan, table.index)).to_numpy(np.float64)
        )
        marked = np.zeros(len(table), dtype=bool)
        reasons = np.array(no_cell_reasons(boxes, [None] * len(table), marked, scored), dtype=np.str_)
        table = table[reasons == ""]
        images = table["image"] if "image" in table else pd.Series(path.stem, table.index)
        found = {str(name): _cells(part) for name, part in table.groupby(images.to_numpy(), sort=False)}
    left_out = Counter(reason for reason in reasons.tolist() if reason)
    refuse_without_cells(str(path), len(table), left_out)
    return found, left_out


def _cells(part: pd.DataFrame) -> CellTable:
    ids = part["cell_id"].to_numpy() if "cell_id" in part else np.zeros(len(part))
    part = part.reset_index(drop=True).assign(cell_id=fill_ids(ids))
    boxes = part[BOX_COLUMNS].to_numpy(np.float32)
    drawn = part[OUTLINE].fillna("").tolist() if OUTLINE in part else [""] * len(part)
    outlines = tuple(
        from_wkt(text) if text else box_outline(box) for text, box in zip(drawn, boxes, strict=True)
    )
    return Cells.from_table(part, outlines), part.drop(columns=OUTLINE, errors="ignore")


def _beside(annotation: Annotation, parts: tuple[str, ...]) -> pd.DataFrame:
    """Return the table of cells with the entries of their records, or of mappings in these, that it lacks."""
    table = annotation.cells.table()
    for part in parts:
        entries = [record.get(part) if part else record for record in annotation.records]
        rows = [entry if isinstance(entry, dict) else {} for entry in entries]
        known = set(table)
        others = pd.DataFrame([{k: v for k, v in row.items() if k not in known} for row in rows], table.index)
        table = pd.concat([table, others], axis=1)
    return table
