"""Cells as GeoJSON that QuPath opens, and back: one file per image, coordinates in pixels."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.files import decoding, read_json, write_exact_json
from napari_amil.core.base.types import ANOMALOUS_Q, CELL_COLUMNS, Cells, polygon_area
from napari_amil.core.exchange.annotation import Annotation, FoundObject, NoCellError, refuse_without_cells
from napari_amil.core.exchange.polygons import as_pixels, bounds, largest_outline, ring, still_fits

CELL = {"name": "Cell", "color": [0, 114, 178]}
ANOMALOUS_CELL = {"name": "Anomalous cell", "color": [213, 94, 0]}
"""Classes that QuPath shows; blue and vermilion are told apart by colour-blind eyes."""
OWN = "napari_amil"
"""Name of the member of a file that only this program reads."""
_LINES_AND_POINTS = {"Point", "MultiPoint", "LineString", "MultiLineString"}
_REGIONS = {"annotation", "tma_core", "root", "PathAnnotationObject", "TMACoreObject", "PathRootObject"}
"""Types of objects that QuPath draws around detections and cells; before version 0.3 it wrote them as id."""


def write_geojson(
    cells: Cells, scores: pd.DataFrame | None, path: Path, own: dict[str, Any] | None = None
) -> None:
    """Write the cells of one image as a FeatureCollection of QuPath detections.

    Every number of the cell and of its scores becomes a measurement (flags 1 or 0), every text an
    entry of the metadata; what is unknown is left out, since JSON has no NaN. The class is the
    ``cell_type`` if there is one, else "Anomalous cell" where ``anomaly_q`` is below 0.05.

    Parameters
    ----------
    cells
        Cells of one image.
    scores
        One row per cell, in their order, or None.
    path
        File to write.
    own
        Private data of this program, as JSON; kept under ``napari_amil`` beside the features, which
        other programs pass over.

    Raises
    ------
    ValueError
        If there are not as many scores as cells.
    AmilError
        If the file cannot be written.
    """
    table = cells.table()
    if scores is not None:
        if len(scores) != len(cells):
            raise ValueError(f"There are {len(scores)} rows of scores for {len(cells)} cells.")
        extra = scores.drop(columns=[name for name in table if name in scores]).reset_index(drop=True)
        table = pd.concat([table, extra], axis=1)
    rows = table.to_dict("records")
    features = [
        _feature(ring(outline, box), row, path.stem)
        for outline, box, row in zip(cells.outlines, cells.boxes, rows, strict=True)
    ]
    beside = {} if own is None else {OWN: own}
    write_exact_json({"type": "FeatureCollection", "features": features, **beside}, path)


def read_own(path: Path) -> dict[str, Any] | None:
    """Return the private data that `write_geojson` stored; None without any.

    Raises
    ------
    AmilError
        If the file is missing or no JSON.
    """
    content = read_json(path)
    own = content.get(OWN) if isinstance(content, dict) else None
    return own if isinstance(own, dict) else None


def _feature(points: list[list[float]], row: dict[Any, Any], image: str) -> dict[str, Any]:
    """Return one cell as a GeoJSON feature; its id is the same at every export."""
    measurements = {
        str(name): float(value)
        for name, value in row.items()
        if isinstance(value, int | float | np.number | np.bool_) and np.isfinite(value)
    }
    measurements["cell_id"] = int(row["cell_id"])
    metadata = {str(name): value for name, value in row.items() if isinstance(value, str) and value}
    properties: dict[str, Any] = {
        "objectType": "detection",
        "name": str(row["cell_id"]),
        "classification": _classification(row),
        "measurements": measurements,
    }
    if metadata:
        properties["metadata"] = metadata
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{image}/{row['cell_id']}")),
        "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
        "properties": properties,
    }


def _classification(row: dict[Any, Any]) -> dict[str, Any]:
    """Return the QuPath class of a cell."""
    known = row.get("cell_type")
    if isinstance(known, str) and known:
        return {"name": known}
    return dict(ANOMALOUS_CELL if row.get("anomaly_q", 1.0) < ANOMALOUS_Q else CELL)


def read_geojson(path: Path) -> Annotation:
    """Return the cells of a GeoJSON file of this program, of QuPath or of another one.

    Boxes, ids, scores and flags come from the measurements. A cell that was redrawn, so that its
    outline leaves the stored box, gets the box and area of its outline. Of a shape in several parts the
    largest counts. Lines, points and regions, such as a QuPath annotation around detections, are left out
    and counted (`Annotation.from_objects`). The record of a cell is its ``properties``.

    Raises
    ------
    AmilError
        If the file is no GeoJSON, or none of its objects is a cell.
    """
    content = read_json(path)
    with decoding(path, "is not GeoJSON with one polygon per cell"):
        if isinstance(content, dict):
            content = content.get("features", [content])
        features = [one for one in content if not isinstance(one, dict) or one.get("geometry")]
        annotation = Annotation.from_objects(features, _object)
    refuse_without_cells(str(path), len(annotation.cells), annotation.left_out)
    return annotation


def _object(feature: dict[str, Any]) -> FoundObject:
    """Return one feature as an object that may be a cell."""
    geometry, properties = feature["geometry"], feature.get("properties") or {}
    if geometry["type"] in _LINES_AND_POINTS:
        raise NoCellError("a line or point")
    parts = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}
    outline = largest_outline([part[0] for part in parts[geometry["type"]]])
    numbers = _measurements(properties.get("measurements") or {})
    stored = [numbers.get(name, np.nan) for name in BOX_COLUMNS]
    box = as_pixels(stored) if np.isfinite(stored).all() else None
    columns = {name: numbers[name] for name in CELL_COLUMNS if name in numbers}
    if box is None or not still_fits(outline, box):
        box = bounds(outline)
        columns["area_px"] = polygon_area(outline)
    kind = str(properties.get("objectType", feature.get("id")))
    return FoundObject(box, outline, columns, properties, kind in _REGIONS)


def _measurements(stored: Any) -> dict[str, float]:  # noqa: ANN401
    """Return measurements by name, those that are numbers; QuPath before 0.4 wrote them as a list."""
    if isinstance(stored, list):
        stored = {entry["name"]: entry["value"] for entry in stored}
    return {str(name): float(value) for name, value in stored.items() if isinstance(value, int | float)}
