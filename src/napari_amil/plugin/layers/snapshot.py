"""A cell layer as JSON and back, with every column, score and setting."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Layer
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding
from napari_amil.core.base.settings import DetectionSettings, SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA, CellStyle, ColourScale
from napari_amil.plugin.layers.rows import RECORD, CellRecord

VERSION = 1
_PLAIN = (bool, int, float, str, np.generic, list, dict, type(None))
"""Values that JSON has."""
LayerData = tuple[Any, dict[str, Any], str]
_KINDS = {"ellipse", "line", "path", "polygon", "rectangle"}
_LARGEST_SIDE_PX, _BEYOND, _LARGEST = 1 << 24, 4, 1e12
_TRANSFORM = ("scale", "translate", "rotate", "shear", "affine")
_CELL_ARRAYS: dict[str, Any] = {"boxes": np.float32, "outline_points": np.float32, "outline_sizes": np.int64}
_CELL_ARRAYS |= {"detection_score": np.float32, "area_px": np.float32, "cell_id": np.int64}
_CELL_ARRAYS |= {"touches_border": np.bool_, "overlaps": np.bool_}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A cell layer at one moment; taking it is cheap, and nobody changes it afterwards."""

    shapes: list[NDArray[np.float64]]
    attributes: dict[str, Any]
    table: pd.DataFrame
    record: CellRecord


def snapshot(shapes: list[NDArray[np.float64]], attributes: Mapping[str, Any]) -> Snapshot:
    """Return the state of a layer given as the first two parts of napari's layer data."""
    kept = {
        name: attributes[name] for name in (*_TRANSFORM, "units", "name", "edge_width") if name in attributes
    }
    kinds = attributes["shape_type"]
    kept["shape_type"] = [str(kind) for kind in kinds]
    table = attributes["features"].iloc[: len(shapes)].copy()
    return Snapshot(
        [np.array(s, float) for s in shapes], kept, table, deepcopy(attributes["metadata"][RECORD])
    )


def to_json(taken: Snapshot) -> dict[str, Any]:
    """Return a snapshot as plain JSON; NaN is null, and every number keeps all its digits."""
    record, own = taken.record, taken.attributes
    scores = None if record.scores is None else _table_json(record.scores.reset_index())
    candidates = {name: array.tolist() for name, array in record.known.arrays().items()}
    return _finite(
        {
            "version": VERSION,
            "name": own["name"],
            "image": record.image_name,
            "image_shape": list(record.image_shape),
            "size_known": record.size_known,
            "place": list(record.place),
            "transform": {name: np.asarray(own[name], float).tolist() for name in _TRANSFORM if name in own},
            "units": [str(unit) for unit in own.get("units") or ()],
            "table": _table_json(taken.table),
            "shapes": [shape.tolist() for shape in taken.shapes],
            "kinds": own["shape_type"],
            "widths": np.asarray(own["edge_width"], float).tolist(),
            "candidates": candidates,
            "diameter_px": float(record.candidates.diameter_px),
            "redrawn": sorted(record.redrawn),
            "removed": sorted(record.removed),
            "next_id": record.next_id,
            "scores": scores,
            "aside": None if record.aside is None else _table_json(record.aside.reset_index()),
            "scale": None if record.scale is None else asdict(record.scale),
            "detection": record.detection.model_dump(mode="json"),
            "selection": None if record.selection is None else record.selection.model_dump(mode="json"),
            "bag": record.bag,
        }
    )


def from_json(saved: Mapping[str, Any], path: str) -> LayerData:
    """Return the layer that `to_json` described, as napari's layer data.

    Raises
    ------
    AmilError
        If it comes from a later version, or is damaged.
    """
    if saved.get("version") != VERSION:
        raise AmilError(
            f"The cells in '{path}' have format version {saved.get('version')}, not {VERSION}; "
            "install the version of the program that wrote them."
        )
    with decoding(Path(path), "holds damaged cells", "use an earlier copy"):
        return _layer_data(saved)


def _layer_data(saved: Mapping[str, Any]) -> LayerData:
    record = _record(saved)
    shapes = [_numbers(shape, _farthest(record), len(record.place) + 2) for shape in saved["shapes"]]
    n = max(len(shapes), 1)
    transform = {name: _numbers(value, _LARGEST) for name, value in saved["transform"].items()}
    where: dict[str, Any] = {"ndim": len(record.place) + 2, **transform}
    if saved["units"]:
        where["units"] = tuple(saved["units"])
    Layer.create(None, where, "shapes")  # raises where the transform or a unit means nothing
    attributes: dict[str, Any] = {
        **where,
        "name": str(saved["name"]),
        "edge_color": np.tile(UNSCORED_RGBA, (n, 1)),
        "face_color": np.zeros((n, 4)),
        "opacity": 1.0,
        "metadata": {RECORD: record},
    }
    if shapes:
        kinds, widths, table = saved["kinds"], _numbers(saved["widths"], _LARGEST), _table(saved["table"])
        if not (n == len(kinds) == len(widths) == len(table)) or widths.ndim > 1 or not set(kinds) <= _KINDS:
            raise ValueError("each cell needs one shape, one width and one row")
        attributes |= {"shape_type": kinds, "edge_width": widths, "features": table}
    return shapes or None, attributes, "shapes"


def _farthest(record: CellRecord) -> float:
    """Return a coordinate beyond which no cell of the image lies."""
    return float(_BEYOND * max(record.image_shape) + max(record.place, default=0))


def _numbers(values: Any, largest: float, columns: int | None = None) -> NDArray[np.float64]:  # noqa: ANN401
    """Return numbers that are finite and no larger than they can be, in a table of so many columns.

    Raises
    ------
    ValueError
        If they are not: libraries that draw shapes crash on such numbers.
    """
    numbers = np.array(values, float)
    if not (np.abs(numbers) <= largest).all() or (columns and numbers.shape[1:] != (columns,)):
        raise ValueError("a coordinate lies far outside of the image")
    return numbers


def _record(saved: Mapping[str, Any]) -> CellRecord:
    arrays = {name: np.array(saved["candidates"][name], dtype) for name, dtype in _CELL_ARRAYS.items()}
    arrays["boxes"] = arrays["boxes"].reshape(-1, 4)
    arrays["outline_points"] = arrays["outline_points"].reshape(-1, 2)
    height, width = (int(side) for side in saved["image_shape"])
    if not (0 < height <= _LARGEST_SIDE_PX and 0 < width <= _LARGEST_SIDE_PX):
        raise ValueError("no image has such a size")
    place = tuple(int(number) for number in saved["place"])
    record = CellRecord("", str(saved["image"]), place, (height, width))
    for name in ("boxes", "outline_points"):
        _numbers(arrays[name], _farthest(record))
    diameter = saved["diameter_px"]
    record.candidates = Candidates.from_cells(
        Cells.from_arrays(arrays), np.nan if diameter is None else diameter
    )
    record.size_known = bool(saved["size_known"])
    record.redrawn, record.removed = set(saved["redrawn"]), set(saved["removed"])
    record.next_id = int(saved["next_id"])
    record.scores = None if saved["scores"] is None else _table(saved["scores"]).set_index("cell_id")
    aside = saved.get("aside")
    record.aside = None if aside is None else _table(aside).set_index("cell_id")
    record.scale = None if saved["scale"] is None else _scale(saved["scale"])
    record.detection = DetectionSettings.model_validate(saved["detection"])
    if saved["selection"] is not None:
        record.selection = SelectionSettings.model_validate(saved["selection"])
    record.bag = saved["bag"]
    return record


def _table_json(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table as JSON; columns of kinds that JSON has not are written as texts."""
    return {str(name): _column_json(table[name]) for name in table}


def _column_json(column: pd.Series) -> dict[str, Any]:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
        return {"type": str(column.dtype), "values": column.tolist()}
    values = column.astype(object).where(column.notna(), None).tolist()
    return {"type": "object", "values": [v if isinstance(v, _PLAIN) else str(v) for v in values]}


def _table(saved: Mapping[str, Any]) -> pd.DataFrame:
    columns = {}
    for name, column in saved.items():
        numbers = np.dtype(column["type"]) if column["type"] != "object" else None
        if numbers is not None and numbers.kind not in "fiub":
            raise ValueError(f"a column has the type {numbers}")
        values = column["values"]
        if numbers is not None and numbers.kind == "f":
            values = [np.nan if value is None else value for value in values]
        columns[name] = np.array(values, dtype=object if numbers is None else numbers)
    return pd.DataFrame(columns)


def _finite(value: Any) -> Any:  # noqa: ANN401
    """Return ``value`` with None where a number is not finite."""
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _scale(saved: dict[str, Any]) -> ColourScale:
    return ColourScale(**{**saved, "style": CellStyle(**saved["style"])})
