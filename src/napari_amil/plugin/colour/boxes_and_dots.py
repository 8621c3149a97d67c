"""Cells as boxes (Vectors) and as dots (Points), which are drawn faster than shapes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Layer, Points, Shapes, Vectors
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.plugin.layers.cell_layer import edge_width, image_transform, need_record
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA
from napari_amil.plugin.layers.companions import lie_on
from napari_amil.plugin.layers.rows import PIXEL_EDGE, layer_name

_SIDES = 4
MANY = 3000
"""More cells in view than this are shown as dots."""
FEW = 2000
"""Fewer cells in view than this are shown as outlines again; between the two nothing changes."""
N_OUTLINED = 300
_DOT = 0.9


def make_boxes(layer: Shapes) -> Vectors:
    """Return the boxes of the cells of ``layer`` in the colours of their score."""
    record = need_record(layer)
    return Vectors(
        box_vectors(layer),
        ndim=layer.ndim,
        edge_color=np.repeat(_colours(layer), _SIDES, axis=0),
        edge_width=edge_width(record),
        vector_style="line",
        opacity=1.0,
        name=layer_name(record.image_name, "boxes"),
        **image_transform(layer),
    )


def update_boxes(layer: Shapes, companion: Layer) -> None:
    """Bring boxes and colours up to date."""
    assert isinstance(companion, Vectors)
    vectors = box_vectors(layer)
    if vectors.shape != companion.data.shape or not np.array_equal(vectors, companion.data):
        companion.data = vectors
    companion.edge_color = np.repeat(_colours(layer), _SIDES, axis=0)
    lie_on(companion, layer)


def box_vectors(layer: Shapes) -> NDArray[np.float64]:
    """Return the sides ``(4 * n_cells, 2, ndim)`` of all boxes: where each begins, and its direction."""
    boxes = layer.features[BOX_COLUMNS].to_numpy(float)[: layer.nshapes] - PIXEL_EDGE
    y0, x0, y1, x1 = boxes.T
    corners = np.stack([y0, x0, y0, x1, y1, x1, y1, x0], axis=1).reshape(-1, _SIDES, 2)
    sides = np.roll(corners, -1, axis=1) - corners
    place = np.array(need_record(layer).place, float)
    lead = np.broadcast_to(place, (len(boxes), _SIDES, len(place)))
    starts = np.concatenate([lead, corners], axis=2)
    directions = np.concatenate([np.zeros_like(lead), sides], axis=2)
    return np.stack([starts, directions], axis=2).reshape(-1, 2, layer.ndim)


def n_in_view(viewer: ViewerModel, layer: Shapes) -> int:
    """Return the number of cells of ``layer`` whose centre lies in the part that the canvas shows."""
    middles = middles_of(layer)
    height, width = viewer.canvas.size
    zoom = max(float(viewer.scene.camera.zoom), 1e-9)
    y, x = (float(value) for value in viewer.scene.camera.center[-2:])
    half = height / zoom / 2, width / zoom / 2
    lead = tuple(float(value) for value in viewer.dims.point[-layer.ndim : -2]) if layer.ndim > 2 else ()
    corners = [(*lead, y + up * half[0], x + side * half[1]) for up in (-1, 1) for side in (-1, 1)]
    seen = np.array([layer.world_to_data(corner) for corner in corners])[:, -2:]
    inside = (middles >= seen.min(axis=0)) & (middles <= seen.max(axis=0))
    return int(inside.all(axis=1).sum())


def middles_of(layer: Shapes) -> NDArray[np.float64]:
    """Return the centres ``(n_cells, 2)`` of the boxes in data coordinates of the layer."""
    boxes = layer.features[BOX_COLUMNS].to_numpy(float)[: layer.nshapes]
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2 - PIXEL_EDGE)


def make_dots(layer: Shapes) -> Points:
    """Return one dot per cell, as large as the cell, in the colour of its score."""
    record = need_record(layer)
    return Points(
        _with_place(layer, middles_of(layer)),
        ndim=layer.ndim,
        size=_sizes(layer),
        face_color=_colours(layer),
        border_width=0,
        opacity=0.85,
        name=layer_name(record.image_name, "overview"),
        **image_transform(layer),
    )


def update_dots(layer: Shapes, companion: Layer) -> None:
    """Bring places and colours of the dots up to date."""
    assert isinstance(companion, Points)
    middles = _with_place(layer, middles_of(layer))
    if middles.shape != companion.data.shape or not np.allclose(middles, companion.data):
        companion.data = middles
        companion.size = _sizes(layer)
    companion.face_color = _colours(layer)
    lie_on(companion, layer)


def most_telling(layer: Shapes, chosen: list[int]) -> list[int]:
    """Return the rows that keep their outlines: the chosen ones and the most unusual ones."""
    table = layer.features.iloc[: layer.nshapes]
    column = "anomaly" if "anomaly" in table else "detection_score"
    values = table[column].to_numpy(float)
    order = np.argsort(-values, kind="stable")[:N_OUTLINED]
    unusual = [int(row) for row in order if np.isfinite(values[row])]
    return list(dict.fromkeys([*chosen[:N_OUTLINED], *unusual]))


def make_outlines(layer: Shapes, rows: list[int]) -> Shapes:
    """Return the outlines of some rows as a layer that only shows; its features say which cells they are."""
    record = need_record(layer)
    ids = layer.features["cell_id"].to_numpy()
    drawn = [_with_place(layer, record.drawn[int(ids[row])] - PIXEL_EDGE) for row in rows]
    colours = _colours(layer)[rows] if rows else np.zeros((1, 4))
    shapes = Shapes(
        drawn or None,
        ndim=layer.ndim,
        shape_type="polygon",
        edge_width=1.5 * edge_width(record),
        edge_color=colours,
        face_color=np.zeros((max(len(rows), 1), 4)),
        name=layer_name(record.image_name, "most unusual"),
        features={"cell_id": [int(ids[row]) for row in rows]},
        **image_transform(layer),
    )
    shapes.editable = False
    return shapes


def update_outlines(companion: Shapes, layer: Shapes, rows: list[int]) -> None:
    """Let a layer of `make_outlines` show other rows, or the same in other colours."""
    record = need_record(layer)
    ids = [int(cell_id) for cell_id in layer.features["cell_id"].to_numpy()[rows]]
    lie_on(companion, layer)
    if companion.features["cell_id"].tolist() == ids:
        if ids:
            companion.edge_color = _colours(layer)[rows]
        return
    companion.remove(list(range(companion.nshapes)))
    if ids:
        drawn = [_with_place(layer, record.drawn[cell_id] - PIXEL_EDGE) for cell_id in ids]
        width, inside = 1.5 * edge_width(record), np.zeros((len(ids), 4))
        colours = _colours(layer)[rows]
        companion.add(drawn, shape_type="polygon", edge_width=width, edge_color=colours, face_color=inside)
    companion.features = pd.DataFrame({"cell_id": ids}, dtype=np.int64)


def row_under(layer: Shapes, position: tuple[float, ...]) -> int | None:
    """Return the row of the cell whose box holds ``position`` (world coordinates) and lies nearest."""
    point = np.asarray(layer.world_to_data(position[-layer.ndim :]), float)
    place = need_record(layer).place
    if any(round(here) != there for here, there in zip(point[:-2], place, strict=True)):
        return None
    boxes = layer.features[BOX_COLUMNS].to_numpy(float)[: layer.nshapes] - PIXEL_EDGE
    holds = ((point[-2:] >= boxes[:, :2]) & (point[-2:] <= boxes[:, 2:])).all(axis=1)
    if not holds.any():
        return None
    distance = np.linalg.norm(middles_of(layer) - point[-2:], axis=1)
    return int(np.argmin(np.where(holds, distance, np.inf)))


def _with_place(layer: Shapes, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points ``(n, 2)`` with the place in the stack in front."""
    place = np.array(need_record(layer).place, float)
    return np.hstack([np.tile(place, (len(points), 1)), points])


def _sizes(layer: Shapes) -> NDArray[np.float64]:
    boxes = layer.features[BOX_COLUMNS].to_numpy(float)[: layer.nshapes]
    return np.asarray(_DOT * (boxes[:, 2:] - boxes[:, :2]).mean(axis=1)) if len(boxes) else np.ones(1)


def _colours(layer: Shapes) -> NDArray[np.float64]:
    scale = need_record(layer).scale
    if scale is None or scale.column not in layer.features:
        return np.tile(np.array(UNSCORED_RGBA), (layer.nshapes, 1))
    return scale.rgba(layer.features[scale.column].to_numpy(float)[: layer.nshapes])
