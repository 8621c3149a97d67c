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
_SAME_BOX = 0.8  # the same from which on the box of an outline is taken to be that of the cell found there


def with_adjacent_cells(seen: PreparedField, cells: Cells, bundle: Bundle, settings: RunSettings) -> Cells:
    """Return listed boxes with the outlines of the cells found in them, and all other cells as `others`.

    A list seldom holds all cells of a field, and where two overlap, neither can be measured without
    the other. Outlines that no detector found stay, and get the box of the cell found there if it is nearly
    their own: what the networks see of a cell is cut out around its box, which an outline alone does not tell
    to the pixel. Boxes in which no cell is found stay as they are, and so does everything where the detector
    found the cells, there is none, or the field does not fit into memory.
    """
    outlined = has_outline(cells)
    loose = outlined & ~np.isfinite(cells.detection_score)
    if bundle.detector is None or is_large(seen.view.shape) or (outlined.any() and not loose.any()):
        return cells
    device = next(bundle.detector.parameters()).device
    candidates = drain(find_in_input(bundle.detector, seen.view, settings.detection, device))
    found = candidates.select(settings.selection)
    if not len(found):
        return cells
    shared = box_iou(cells.boxes, found.boxes)
    if outlined.any():
        same = loose & (shared.max(axis=1) >= _SAME_BOX)
        return replace(cells, boxes=np.where(same[:, None], found.boxes[shared.argmax(axis=1)], cells.boxes))
    best = np.where(shared.max(axis=1) >= _SAME_CELL, shared.argmax(axis=1), -1)
    drawn = [found.outlines[i] if i >= 0 else own for i, own in zip(best, cells.outlines, strict=True)]
    rest = (found.outlines[i] for i in np.setdiff1d(np.arange(len(found)), best))
    return replace(cells, outlines=tuple(drawn), others=(*cells.others, *rest))
