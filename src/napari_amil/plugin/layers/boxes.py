"""The boxes of cells as a Vectors layer, which is drawn and coloured many times faster than shapes."""

from __future__ import annotations

import numpy as np
from napari.layers import Layer, Shapes, Vectors
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA
from napari_amil.plugin.layers.companions import lie_on
from napari_amil.plugin.layers.layers import edge_width, image_transform, need_record
from napari_amil.plugin.layers.rows import PIXEL_EDGE, layer_name

_SIDES = 4


def make_boxes(layer: Shapes) -> Vectors:
    """Return the boxes of the cells of ``layer`` in the colours of their score."""
    record = need_record(layer)
    return Vectors(
        box_vectors(layer),
        ndim=layer.ndim,
        edge_color=_colours(layer),
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
    companion.edge_color = _colours(layer)
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


def _colours(layer: Shapes) -> NDArray[np.float64]:
    scale = need_record(layer).scale
    if scale is None or scale.column not in layer.features:
        return np.tile(UNSCORED_RGBA, (_SIDES * layer.nshapes, 1))
    values = layer.features[scale.column].to_numpy(float)[: layer.nshapes]
    return np.repeat(scale.rgba(values), _SIDES, axis=0)
