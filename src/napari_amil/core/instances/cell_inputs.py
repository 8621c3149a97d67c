"""Inputs of the anomaly scores: measurements of cells, and their crops with masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.settings import CropSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.images.crops import extract_crops
from napari_amil.core.mil.instances import crops_of, measurements_of
from napari_amil.core.morphology.masks import GRID, STEP, cell_grid


def cell_inputs(values: NDArray[Any], embedding: Tensor | None = None) -> CellInputs:
    """Return the inputs of anomaly scores from `measured_instances` of cells.

    Parameters
    ----------
    values
        ``(n_cells,)`` from `napari_amil.core.instances.extract.measured_instances`.
    embedding
        ``(n_cells, n_views, k)``, or None.
    """
    return CellInputs(embedding, measurements_of(values), crops_of(values))


def crops_with_masks(
    normalised: NDArray[np.float32],
    cells: Cells,
    diameter_px: float,
    crop_px: float,
    settings: CropSettings,
) -> NDArray[np.uint8]:
    """Return ``(n_cells, 4, size_px, size_px)``: the crop of each cell, and 255 where the cell is.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.
    diameter_px
        Typical diameter of a cell of this field, by which masks are made.
    crop_px
        Diameter by which crops are cut.
    settings
        Side of the window and of the crop.
    """
    size = settings.size_px
    found = np.zeros((len(cells), 4, size, size), dtype=np.uint8)
    if len(cells):
        crops = extract_crops(normalised, cells.boxes, crop_px, settings)
        found[:, :3] = (crops * 255).round()
        found[:, 3] = 255 * _at_pixels(
            cell_grid(normalised, cells, diameter_px).mask, diameter_px, crop_px, settings
        )
    return found


def _at_pixels(
    masks: NDArray[np.bool_], diameter_px: float, crop_px: float, settings: CropSettings
) -> NDArray[np.bool_]:
    """Return masks ``(n_cells, g, g)`` at the pixels of the crops around the same centres."""
    size = settings.size_px
    offset_px = ((np.arange(size) + 0.5) / size - 0.5) * settings.field * crop_px
    index = np.floor(offset_px / (diameter_px * STEP) + GRID.size_px / 2).astype(np.int64)
    inside = (index >= 0) & (index < GRID.size_px)
    index = index.clip(0, GRID.size_px - 1)
    return np.asarray(masks[:, index[:, None], index] & inside[:, None] & inside)
