"""Read cells from a file into a cell layer: own files with everything, tables and foreign formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
from napari.utils.notifications import show_warning

from napari_amil.core.base.columns import BOX_COLUMNS, score_names
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding, special_kind
from napari_amil.core.exchange.cell_files import CellTable, read_cells
from napari_amil.core.exchange.geojson import read_own
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import edge_width
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA, default_scale
from napari_amil.plugin.layers.rows import PIXEL_EDGE, RECORD, CellRecord, complete, layer_name
from napari_amil.plugin.layers.snapshot import LayerData, from_json

_HEAD = 4096
_COLOURED_BY = ("anomaly_percentile", "anomaly")
"""Scores of a table by the first of which it has its cells are coloured."""
_WORDS = ("FeatureCollection", '"Feature"', '"annotations"', '"images"')

Reader = Callable[[str | Sequence[str]], list[LayerData]]


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return the reader of cells if every file looks as if it held some."""
    paths = [path] if isinstance(path, str) else list(path)
    return read if paths and all(_looks_like_cells(Path(one)) for one in paths) else None


def _looks_like_cells(path: Path) -> bool:
    suffix = path.suffix.lower()
    if special_kind(path) is not None:  # opening a named pipe would block for ever
        return False
    if suffix == ".parquet":
        return path.is_file()
    if suffix not in {".csv", ".json", ".geojson"}:
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            head = stream.read(_HEAD)
    except OSError:
        return False
    if suffix == ".csv":
        names = head.splitlines()[0].replace(";", ",").replace("\t", ",") if head else ""
        return {name.strip().strip('"') for name in names.split(",")} >= set(BOX_COLUMNS)
    return suffix == ".geojson" or any(word in head for word in _WORDS)


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Return the cell layers of one or several files.

    Raises
    ------
    AmilError
        If a file holds no cells.
    """
    viewer = napari.current_viewer()
    if viewer is not None:
        look_after(viewer)
    paths = [path] if isinstance(path, str) else list(path)
    return [layer for one in paths for layer in _layers_of(Path(one))]


def _layers_of(path: Path) -> list[LayerData]:
    own = read_own(path) if path.suffix.lower() in {".json", ".geojson"} else None
    if own is not None:
        return [from_json(own, str(path))]
    found = read_cells(path, show_warning)
    if not any(len(cells) for cells, _ in found.values()):
        raise AmilError(f"'{path}' holds no cells; nothing was opened.")
    with decoding(path, "holds values that cannot be shown", "correct them"):
        return [_layer(name, known) for name, known in found.items() if len(known[0])]


def _layer(image: str, known: CellTable) -> LayerData:
    """Return the cells of one image of a table; their image is found by its name."""
    cells, table = known
    place = _place(image)
    extent = np.ceil(cells.boxes[:, 2:].max(axis=0)).astype(int)
    record = CellRecord("", image, place, (int(extent[0]), int(extent[1])), size_known=False)
    lead = np.array(place, float)
    shapes = [np.hstack([np.tile(lead, (len(o), 1)), o.astype(float) - PIXEL_EDGE]) for o in cells.outlines]
    status = table["status"] if "status" in table else _status(table)
    _take_scores(record, table)
    features = complete(table.assign(status=status), len(cells), record)
    record.next_id = int(cells.cell_id.max()) + 1
    attributes: dict[str, Any] = {
        "name": layer_name(image),
        "ndim": len(place) + 2,
        "shape_type": "polygon",
        "edge_width": edge_width(record),
        "edge_color": np.tile(UNSCORED_RGBA, (len(cells), 1)),
        "face_color": np.zeros((len(cells), 4)),
        "opacity": 1.0,
        "features": features,
        "metadata": {RECORD: record},
    }
    if record.scale is not None:
        values = features[record.scale.column].to_numpy(float)
        attributes |= {
            "edge_color": record.scale.edge_rgba(values),
            "face_color": record.scale.face_rgba(values),
        }
    return shapes, attributes, "shapes"


def _take_scores(record: CellRecord, table: pd.DataFrame) -> None:
    """Note the scores that a table brings, and the scale that colours the cells by them."""
    known = [name for name in _COLOURED_BY if name in table and table[name].notna().any()]
    if not known:
        return
    scores = table[["cell_id", *score_names(table)]].set_index("cell_id")
    record.scores = scores[scores[known[0]].notna()]
    record.scale = default_scale(known[0], table[known[0]].to_numpy(float))


def _status(table: pd.DataFrame) -> pd.Series:
    """Return the status of cells of a table without one."""
    known = table["anomaly"].notna() if "anomaly" in table else pd.Series(False, table.index)
    return known.map({True: "scored", False: "unscored"})


def _place(image: str) -> tuple[int, ...]:
    """Return the plane of a stack that the name of an image ends with, as in ``stack.tif#3``."""
    numbers = image.split("#")[1:]
    return tuple(int(n) - 1 for n in numbers) if all(n.isdigit() and int(n) > 0 for n in numbers) else ()
