"""A Labels layer of any program as a layer of cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Labels, Shapes

from napari_amil.core.base.errors import AmilError
from napari_amil.core.detection.select import Candidates
from napari_amil.core.exchange.labels import cells_of_labels
from napari_amil.plugin.layers.layers import make_layer
from napari_amil.plugin.layers.planes import Plane
from napari_amil.plugin.layers.rows import layer_name


def layer_of_labels(labels: Labels, plane: Plane) -> Shapes:
    """Return a cell layer with the outline of every label on a plane; the ids of the cells are the labels.

    Raises
    ------
    AmilError
        If the labels do not cover the image pixel by pixel, or there are none.
    """
    stack: Any = labels.data[0] if labels.multiscale else labels.data
    place = plane.place if stack.ndim == len(plane.place) + 2 else ()
    shown = np.asarray(stack[place] if place else stack)
    height, width = plane.pixels.shape[:2]
    if shown.shape != (height, width):
        size = " x ".join(map(str, reversed(shown.shape)))
        raise AmilError(
            f"The labels '{labels.name}' have {size} pixels, but the image {width} x {height}; "
            "they must be of one size."
        )
    cells = cells_of_labels(shown)
    if not len(cells):
        raise AmilError(f"The layer '{labels.name}' labels no cell on this plane.")
    low, high = cells.boxes[:, :2], cells.boxes[:, 2:]
    cut = (low <= 0).any(axis=1) | (high >= (height, width)).any(axis=1)
    record = plane.record()
    record.candidates = Candidates.of(replace(cells, touches_border=np.asarray(cut)), float("nan"))
    layer = make_layer(record.known, record, plane.layer)
    layer.name = layer_name(labels.name)
    return layer
