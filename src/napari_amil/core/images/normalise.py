"""Normalise background and stain of a field of any colour, exposure and stain strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from napari_amil.core.base.settings import NormalisationSettings
from napari_amil.core.base.types import Image
from napari_amil.core.images.field_of_view import FieldOfView, field_of_view
from napari_amil.core.images.fields import ArrayField

CELL_OPTICAL_DENSITY = (0.30, 0.62, 0.40)
"""Optical density (natural logarithm) in red, green and blue that a typical cell gets; detector and
encoder were trained with this one, and any other would do as well."""

_SAMPLE_STEP = 4  # pixels; background and stain are estimated on every fourth pixel of a row and column
_DENSITY_SHOWN = 0.75  # share of the optical density kept in the result, so that dark cells do not clip
_CLEARER_BY = 1.12  # another colour must part cells and background this much better than green does


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
    ``(height, width, 3)`` in 0 to 1; the background is 1, and so is what lies outside the field of view.
    """
    return whole_appearance(image, settings or NormalisationSettings()).normalise(Part(image, (0, 0)))


def whole_appearance(image: Image, settings: NormalisationSettings) -> Appearance:
    """Return light and stain of a field in memory, ``(height, width, 3)``, within its field of view."""
    shape = image.shape[:2]
    return Appearance.fit([Part(image, (0, 0))], shape, settings, field_of_view(ArrayField(image)))


@dataclass(frozen=True, eq=False)
class Part:
    """A window of a field, and where it lies.

    Parameters
    ----------
    pixels
        ``(height, width, 3)``, RGB, 0 to 255.
    corner
        First row and column in the field, in pixels.
    """

    pixels: Image
    corner: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Appearance:
    """Light and stain of a field, fitted once, with which any window of it is normalised alike.

    Parameters
    ----------
    surface
        ``(n_terms, 3)`` weights of the polynomial ``y^i x^j`` of the background, ``i + j <= order``.
    order
        Order of that polynomial.
    extent_px
        Length that counts as 1 in it, in pixels.
    darkest
        ``(3,)`` least background, so that the polynomial cannot run away where nothing was seen.
    gain
        ``(3,)`` factors on the optical density.
    seen
        The field of view, None where the smear fills the image; outside it everything is background.
    """

    surface: NDArray[np.float64]
    order: int
    extent_px: float
    darkest: NDArray[np.float64]
    gain: NDArray[np.float32]
    seen: FieldOfView | None = None

    @classmethod
    def fit(
        cls,
        parts: Sequence[Part],
        shape: tuple[int, ...],
        settings: NormalisationSettings,
        seen: FieldOfView | None = None,
    ) -> Appearance:
        """Return the appearance of a field of ``shape`` (height, width) from windows of it."""
        values, rows, columns = _sampled(parts)
        if seen is not None and (inside := seen.at(rows, columns)).any():
            values, rows, columns = values[inside], rows[inside], columns[inside]
        bright = background_sample(values[:, None])[:, 0]
        extent = float(_SAMPLE_STEP * max(-(-length // _SAMPLE_STEP) for length in shape[:2]))
        order = settings.illumination_order
        y, x = rows / extent, columns / extent
        surface = _fitted_surface(_terms(y[bright], x[bright], order), values[bright].astype(np.float64))
        darkest = np.maximum(np.percentile(values[bright].astype(np.float64), 1, axis=0) * 0.7, 8.0)
        cells = ~bright
        background = _limited(_terms(y[cells], x[cells], order) @ surface, darkest)
        gain = _stain_gain(np.log(background) - np.log(values[cells]), settings)
        return cls(surface, order, extent, darkest, gain, seen)

    def normalise(self, part: Part) -> NDArray[np.float32]:
        """Return a window with background 1 and cells of a typical density, 0 to 1."""
        field = np.maximum(part.pixels.astype(np.float32), 1.0)
        density = np.log(self._background(part))
        density -= np.log(field)
        density *= self.gain * _DENSITY_SHOWN
        np.negative(density, out=density)
        np.exp(density, out=density)
        if self.seen is not None:
            (top, left), (height, width) = part.corner, field.shape[:2]
            density[~self.seen.inside(slice(top, top + height), slice(left, left + width))] = 1.0
        return np.minimum(density, 1.0, out=density)

    def _background(self, part: Part) -> NDArray[np.float32]:
        """Return the background colour at every pixel of a window, ``(height, width, 3)``."""
        (top, left), (height, width) = part.corner, part.pixels.shape[:2]
        y = ((top + np.arange(height)) / self.extent_px)[:, None, None]
        x = ((left + np.arange(width)) / self.extent_px)[None, :, None]
        along_x = np.zeros((self.order + 1, 1, width, 3))  # what each power of y is multiplied with
        for (i, j), weight in zip(_powers(self.order), self.surface, strict=True):
            along_x[i] += x**j * weight
        surface = np.broadcast_to(along_x[0], (height, width, 3)).copy()
        for i in range(1, self.order + 1):
            surface += y**i * along_x[i]
        return _limited(surface, self.darkest)


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
    """Return a mask of the background of ``(height, width, 3)``: above Otsu's threshold in green.

    Green, since haemoglobin absorbs it most; red or blue only where it parts the pixels clearly better,
    as under a coloured light. A field of one colour is all background.
    """
    bright, clearness = _above_otsu(sample[..., 1])
    for channel in (0, 2):
        other, clearer = _above_otsu(sample[..., channel])
        if clearer > _CLEARER_BY * clearness:
            bright, clearness = other, clearer / _CLEARER_BY
    return bright


def _above_otsu(values: NDArray[np.floating]) -> tuple[NDArray[np.bool_], float]:
    """Return a mask of values above Otsu's threshold, and the share of variance that it explains."""
    if float(np.ptp(values)) < 1e-3:
        return np.ones(values.shape, dtype=bool), 0.0
    bright = np.asarray(values > threshold_otsu(values), dtype=bool)
    share = float(bright.mean())
    between = share * (1 - share) * float(values[bright].mean() - values[~bright].mean()) ** 2
    return bright, between / float(values.var())


def _sampled(
    parts: Sequence[Part],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return every fourth pixel of every fourth row ``(n, 3)``, with its row and column in the field."""
    values, rows, columns = [], [], []
    for part in parts:
        sample = part.pixels[::_SAMPLE_STEP, ::_SAMPLE_STEP]
        y, x = np.indices(sample.shape[:2])
        values.append(np.maximum(sample.reshape(-1, 3).astype(np.float32), 1.0))
        rows.append(part.corner[0] + _SAMPLE_STEP * y.ravel())
        columns.append(part.corner[1] + _SAMPLE_STEP * x.ravel())
    return np.concatenate(values), np.concatenate(rows), np.concatenate(columns)


def _powers(order: int) -> list[tuple[int, int]]:
    """Return the exponents of y and x of every term of the background."""
    return [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]


def _terms(y: NDArray[np.float64], x: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Return the terms ``(n, n_terms)`` of the background at places ``y``, ``x``."""
    return np.stack([y**i * x**j for i, j in _powers(order)], axis=1)


def _fitted_surface(design: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights ``(n_terms, 3)`` of the background, dirt and pale cells left out."""
    keep = np.ones(len(values), dtype=bool)
    for _ in range(3):
        solution, *_rest = np.linalg.lstsq(design[keep], values[keep], rcond=None)
        residual = (values - design @ solution)[:, 1]
        spread = 1.4826 * np.median(np.abs(residual[keep])) + 1e-6
        keep = np.abs(residual) < 2.5 * spread
        if keep.sum() < 10 * design.shape[1]:
            break
    return np.asarray(solution, dtype=np.float64)


def _limited(surface: NDArray[np.float64], darkest: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a background clipped to the range of a camera."""
    return np.clip(surface, darkest, 400.0).astype(np.float32)


def _stain_gain(cells: NDArray[np.float32], settings: NormalisationSettings) -> NDArray[np.float32]:
    """Return the factor per channel ``(3,)`` that brings the median density of cells to the wanted one."""
    if not len(cells):
        return np.ones(3, dtype=np.float32)
    median = np.maximum(np.median(cells, axis=0), 1e-3)
    wanted = np.asarray(CELL_OPTICAL_DENSITY, dtype=np.float32)
    limit = settings.max_gain
    return np.asarray(np.clip(wanted / median, 1 / limit, limit), dtype=np.float32)
