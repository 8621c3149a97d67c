"""Statistics of a field beside its cells: stain, size, focus and confidence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from napari_amil.core.base.settings import CropSettings
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.detection.network_input import NetworkInput
from napari_amil.core.detection.scale import diameter_confidence, seen_diameter
from napari_amil.core.images.crops import extract_crops
from napari_amil.core.images.fields import is_large, sampled_pixels
from napari_amil.core.images.normalise import stain_density
from napari_amil.core.instances.field_blocks import PreparedField, split_into_blocks
from napari_amil.core.instances.focus import sharpness

_PICTURES = 24  # whole cells of a field whose sharpness is looked at


class FieldNote(NamedTuple):
    """Statistics of a field beside its cells; NaN where unknown."""

    density: float
    """Optical density of a typical cell in green."""
    diameter_px: float
    """Median diameter of the cells in pixels."""
    focus: float = float("nan")
    """Median sharpness of whole cells (`napari_amil.core.instances.focus`)."""
    confidence: float = float("nan")
    """Confidence in the diameter, from 0 to 1 (`diameter_confidence`)."""
    score: float = float("nan")
    """Mean detection score of the cells."""


def field_note(prepared: PreparedField, cells: Cells) -> FieldNote:
    """Return stain, size and sharpness of the cells of a field, and how sure the detector is of them."""
    view = prepared.view
    sides = cells.boxes[:, 2:] - cells.boxes[:, :2]
    diameter_px = float(np.median(np.sqrt(sides.prod(axis=1))))
    density = float(stain_density(_visible_pixels(prepared))[1])
    if not np.isfinite(cells.detection_score).any():  # given cells need not be all
        return FieldNote(density, diameter_px)
    confidence = diameter_confidence(cells, view)
    score = float(np.nanmean(cells.detection_score))
    return FieldNote(density, diameter_px, _focus(view, cells), confidence, score)


def _focus(view: NetworkInput, cells: Cells) -> float:
    """Return the median sharpness of some whole cells, NaN without any."""
    whole = np.flatnonzero(~cells.touches_border)
    some = cells.take(whole[:: max(len(whole) // _PICTURES, 1)])
    if not len(some):
        return float("nan")
    crop_px, settings = seen_diameter(view), CropSettings()
    values: list[float] = []
    for block in split_into_blocks(view, some, settings.field * crop_px / 2):
        crops = extract_crops(block.normalised, block.cells.boxes, crop_px, settings)
        values += sharpness(list((crops.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8))).tolist()
    known = np.array(values)[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _visible_pixels(prepared: PreparedField) -> Image:
    """Return the pixels of a field, those within its field of view in one column ``(n_pixels, 1, 3)``."""
    pixels, seen = sampled_pixels(prepared.field), prepared.view.seen
    if seen is None or is_large(prepared.field.shape):
        return pixels
    height, width = prepared.field.shape
    return pixels[seen.inside(slice(0, height), slice(0, width))][:, None]


def summary_of_fields(notes: Iterable[FieldNote]) -> dict[str, list[float]]:
    """Return median and deviation over fields of ``density`` and ``diameter_px``, from `field_note`."""
    values = np.array([note[:2] for note in notes])
    centre, spread = np.median(values, axis=0), values.std(axis=0)
    names = ("density", "diameter_px")
    return {n: [float(m), float(s)] for n, m, s in zip(names, centre, spread, strict=True)}
