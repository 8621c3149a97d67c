"""Bring a field of any colour, exposure and stain strength to one background and one stain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from napari_amil.core.settings import NormalisationSettings
from napari_amil.core.types import Image

_SAMPLE_STEP = 4  # pixels; background and stain are estimated on every fourth pixel of a row and column
_DENSITY_SHOWN = 0.75  # share of the optical density kept in the result, so that dark cells do not clip


def normalise(image: Image, settings: NormalisationSettings | None = None) -> NDArray[np.float32]:
    """Return the field with background 1 and cells of a typical density.

    The background is a polynomial surface per channel, fitted to the pixels that Otsu's threshold
    leaves outside the cells; the optical density ``-ln(I / background)`` is then scaled per channel
    so that its median over the cells takes the wanted value (Beer-Lambert).

    Parameters
    ----------
    image
        ``(height, width, 3)``, RGB, 0 to 255.
    settings
        Illumination model and wanted density.

    Returns
    -------
    ``(height, width, 3)`` in 0 to 1; the background is 1.
    """
    settings = settings or NormalisationSettings()
    field = np.maximum(image.astype(np.float32), 1.0)
    sample = field[::_SAMPLE_STEP, ::_SAMPLE_STEP]
    bright = background_sample(sample)
    background = _illumination(field.shape[:2], sample, bright, settings.illumination_order)
    density = np.log(background)
    density -= np.log(field)
    gain = _stain_gain(density[::_SAMPLE_STEP, ::_SAMPLE_STEP][~bright], settings)
    density *= gain * _DENSITY_SHOWN
    np.negative(density, out=density)
    np.exp(density, out=density)
    return np.minimum(density, 1.0, out=density)


def stain_density(image: Image) -> NDArray[np.float64]:
    """Return the optical density ``(3,)`` in red, green and blue of a typical cell of a field as it is.

    It is ``-ln`` of the median colour of the cells over that of the background; 0 without cells.
    """
    sample = np.maximum(image[::_SAMPLE_STEP, ::_SAMPLE_STEP].astype(np.float64), 1.0)
    bright = background_sample(sample)
    if bright.all():
        return np.zeros(3)
    return np.asarray(np.log(np.median(sample[bright], axis=0) / np.median(sample[~bright], axis=0)))


def background_sample(sample: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which pixels of ``(height, width, 3)`` are background: above Otsu's threshold in green.

    Green, since haemoglobin absorbs it most. A field of one colour is all background.
    """
    green = sample[..., 1]
    if float(np.ptp(green)) < 1e-3:
        return np.ones(green.shape, dtype=bool)
    return np.asarray(green > threshold_otsu(green), dtype=bool)


def _illumination(
    shape: tuple[int, int], sample: NDArray[np.float32], bright: NDArray[np.bool_], order: int
) -> NDArray[np.float32]:
    """Return the background colour at every pixel, ``(height, width, 3)``."""
    rows, columns = np.nonzero(bright)
    size = max(sample.shape[:2])
    terms = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    design = np.stack([(rows / size) ** i * (columns / size) ** j for i, j in terms], axis=1)
    values = sample[bright].astype(np.float64)
    keep = np.ones(len(values), dtype=bool)
    for _ in range(3):  # dirt and pale cells among the background leave the fit
        solution, *_rest = np.linalg.lstsq(design[keep], values[keep], rcond=None)
        residual = (values - design @ solution)[:, 1]
        spread = 1.4826 * np.median(np.abs(residual[keep])) + 1e-6
        keep = np.abs(residual) < 2.5 * spread
        if keep.sum() < 10 * len(terms):
            break
    y = (np.arange(shape[0]) / (_SAMPLE_STEP * size))[:, None, None]
    x = (np.arange(shape[1]) / (_SAMPLE_STEP * size))[None, :, None]
    surface = np.zeros((*shape, 3))
    for (i, j), weight in zip(terms, solution, strict=True):
        surface += y**i * x**j * weight
    low = np.percentile(values, 1, axis=0) * 0.7
    return np.clip(surface, np.maximum(low, 8.0), 400.0).astype(np.float32)


def _stain_gain(cells: NDArray[np.float32], settings: NormalisationSettings) -> NDArray[np.float32]:
    """Return the factor per channel ``(3,)`` that brings the median density of cells to the wanted one."""
    if not len(cells):
        return np.ones(3, dtype=np.float32)
    median = np.maximum(np.median(cells, axis=0), 1e-3)
    wanted = np.asarray(settings.cell_optical_density, dtype=np.float32)
    limit = settings.max_gain
    return np.asarray(np.clip(wanted / median, 1 / limit, limit), dtype=np.float32)
