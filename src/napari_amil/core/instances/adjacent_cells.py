"""Refine given boxes to outlines; add the adjacent cells that may overlap them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells, has_outline
from napari_amil.core.detection.predict import find_in_input
from napari_amil.core.detection.validation import box_iou
from napari_amil.core.images.fields import is_large
from napari_amil.core.instances.field_blocks import PreparedField
from napari_amil.core.model.bundle import Bundle

_SAME_CELL = 0.5  # intersection over union of boxes


def with_adjacent_cells(seen: PreparedField, cells: Cells, bundle: Bundle, settings: RunSettings) -> Cells:
    """Return listed boxes with the outlines of the cells found in them, and all other cells as `others`.

    A list seldom holds all cells of a field, and where two overlap, neither can be measured without
    the other. Boxes in which no cell is found, and cells of which any has an outline, stay as they are,
    as do all where there is no detector or the field does not fit into memory.
    """
    if bundle.detector is None or has_outline(cells).any() or is_large(seen.view.shape):
        return cells
    device = next(bundle.detector.parameters()).device
    candidates = drain(find_in_input(bundle.detector, seen.view, settings.detection, device))
    found = candidates.select(settings.selection)
    if not len(found):
        return cells
    shared = box_iou(cells.boxes, found.boxes)
    best = np.where(shared.max(axis=1) >= _SAME_CELL, shared.argmax(axis=1), -1)
    drawn = [found.outlines[i] if i >= 0 else own for i, own in zip(best, cells.outlines, strict=True)]
    rest = (found.outlines[i] for i in np.setdiff1d(np.arange(len(found)), best))
    return replace(cells, outlines=tuple(drawn), others=(*cells.others, *rest))
