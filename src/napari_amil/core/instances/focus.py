"""Sharpness of the pictures of control cells, which distinguishes smears out of focus from unusual cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.instances.extract import Recipe, instance_blocks
from napari_amil.core.instances.field_blocks import PreparedField

_SIGMA_PX = 1.0  # of the Laplacian of Gaussian: below it lies the noise of camera and JPEG
_CENTRAL = 0.75  # of the side of a picture: the whole cell with its edge, few parts of its neighbours
_GREEN = 1
_MOST_CELLS = 60


def sharpness(pictures: list[Image]) -> NDArray[np.float64]:
    """Return the sharpness of each picture ``(size, size, 3)`` of a cell, ``(n_pictures,)``.

    The variance of the Laplacian of Gaussian of the green channel over the variance of that channel
    (Pech-Pacheco et al. 2000, with the contrast divided out), in the middle of the picture. Pictures are as
    large as 1.6 cell diameters whatever the microscope, so that the number is comparable. NaN without
    contrast.
    """
    values = [_sharpness(picture) for picture in pictures]
    return np.array(values, dtype=np.float64)


def focus_of(sample: ControlSample | None) -> list[float] | None:
    """Return the median sharpness of control cells over images, and its deviation between these.

    None where the sample has no pictures, because the encoder sees none.
    """
    pictures = sample.thumbnails(range(len(sample))) if sample is not None else []
    if sample is None or not pictures:
        return None
    names, values = np.asarray(sample.images), sharpness(pictures)
    of_images = [np.nanmedian(values[names == name]) for name in np.unique(names)]
    return [float(np.nanmedian(of_images)), float(np.nanstd(of_images))]


def field_focus(prepared: PreparedField, cells: Cells, recipe: Recipe) -> float:
    """Return the median sharpness of some whole cells of a field; NaN where the encoder sees no pictures."""
    settings = recipe.settings.model
    whole = np.flatnonzero(~cells.touches_border)
    if settings.instance != "crop" or settings.cells == "white" or not len(whole):
        return float("nan")
    some = cells.take(whole[:: -(-len(whole) // _MOST_CELLS)])
    blocks = instance_blocks(prepared, some, recipe, measured=False)
    values = sharpness([np.moveaxis(pixels, 0, 2) for _, block in blocks for pixels in block])
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _sharpness(picture: Image) -> float:
    size = picture.shape[0]
    rim = round(size * (1 - _CENTRAL) / 2)
    green = picture[rim : size - rim, rim : size - rim, _GREEN].astype(np.float64)
    contrast = float(green.var())
    edges = ndimage.gaussian_laplace(green, _SIGMA_PX, mode="nearest")
    return float(edges.var()) / contrast if contrast > 0 else float("nan")
