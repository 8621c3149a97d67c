"""Images of single white cells: their normalised view, and the one cell that each holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from napari_amil.core.base.errors import CohortError, ImageError
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells, Cohort
from napari_amil.core.detection.network_input import NetworkInput, WholeInput
from napari_amil.core.images.fields import Field, is_large
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX
from napari_amil.core.images.nucleus import normalise_by_nucleus
from napari_amil.core.instances.field_blocks import PreparedField

CELL_IMAGES = "cell-images"
"""Layout whose images hold one white cell each."""


def prepare_cell_image(field: Field, settings: RunSettings) -> PreparedField:
    """Return the image of a white cell, its stain brought to that of a typical nucleus.

    The typical diameter is the one in the settings; else the shorter side is `CropSettings.field` typical
    diameters, so that the window of the crop is the image.

    Raises
    ------
    ImageError
        If the image is too large to hold one cell.
    """
    height, width = field.shape
    if is_large(field.shape):
        raise ImageError(
            f"An image of {width} x {height} pixels is no image of a single cell; cut the cells out."
        )
    pixels = field.window(slice(0, height), slice(0, width))
    normalised = normalise_by_nucleus(pixels, settings.normalisation)
    diameter = settings.detection.cell_diameter_px or min(height, width) / settings.crop.field
    tensor = torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))
    return PreparedField(field, WholeInput(tensor, 1.0, diameter, normalised))


def at_size_of(seen: PreparedField, cells: Cells, settings: RunSettings) -> PreparedField:
    """Return a prepared image at the size of its cells: where boxes are listed, their sides are the ruler."""
    whole = whole_image(seen.view.shape).boxes[0]
    listed = len(cells) and not (len(cells) == 1 and np.array_equal(cells.boxes[0], whole))
    if not listed or settings.detection.cell_diameter_px or not isinstance(seen.view, WholeInput):
        return seen
    sides = cells.boxes[:, 2:] - cells.boxes[:, :2]
    return replace(seen, view=replace(seen.view, diameter_px=float(np.median(sides.max(axis=1)))))


def whole_image(shape: tuple[int, int]) -> Cells:
    """Return the one cell that fills an image of ``shape`` (height, width)."""
    return Cells(np.array([(0, 0, *shape)], dtype=np.float32))


def crop_diameter(view: NetworkInput, settings: RunSettings) -> float:
    """Return the diameter in pixels by which crops are cut."""
    return view.diameter_px if settings.model.cells == "white" else REFERENCE_DIAMETER_PX / view.scale


def refuse_other_cells(cohort: Cohort, settings: RunSettings) -> None:
    """Refuse images of single cells for a model of smears.

    Raises
    ------
    CohortError
        Saying what to choose.
    """
    if cohort.layout == CELL_IMAGES and settings.model.cells != "white":
        raise CohortError(
            f"'{cohort.root}' holds images of single cells, but the model is one of red cells in smears; "
            "choose a preset such as 'lympho-moe' to train, or a model that was trained so to score."
        )
