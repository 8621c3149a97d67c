"""Detect objects that are not red cells, by colour: nuclei, platelets, ink, pointers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.images.foreground import foreground_mask
from napari_amil.core.images.rasters import polygon_pixels

_BLUER_BY = 0.04  # on labelled slides 998 of 1,000 red cells have fewer than a quarter of such pixels
_BLUER_THAN_TYPICAL = 0.10  # where typical cells are bluish, as in unusual light
_INK = 0.35  # no channel of a red cell is this dark in a normalised field
_STEP = 4  # pixels; a typical colour needs no more

# optical densities relative to a typical cell; the ratio is that of red over green
_MAGENTA_RATIO, _MAGENTA_GREEN = 0.7, 1.4  # granules and chromatin that bind eosin and azure alike
_DENSE_GREEN = 0.4  # in itself, since under unusual light a typical cell may have next to no density in green
_GREY_RATIO, _GREY_GREEN, _GREY = 1.5, 0.5, 0.6  # a pointer: nearly as dense in red as in green
_PALE_GREEN = 1.15  # a whole cell that is bluish and no denser is polychromatic, not nucleated
_WHOLE, _SMALL = 0.75, 0.65  # typical diameters from which on an object is a cell, and below which a platelet
_PLATELET_RATIO = 1.35  # of red over blue, in most of a small object

_BLACK_MARK, _BLUE_MARK = 0.42, 0.25  # thin lines are not smoothed away
_MARKED_SHARE, _MARKED_LENGTH = 0.04, 0.6  # of the area, in typical diameters


@dataclass(frozen=True, eq=False)
class CellColour:
    """The colour of a typical cell of a field.

    Parameters
    ----------
    redness
        By how much red exceeds blue, NaN without cells.
    density
        ``(3,)`` optical density in red, green and blue of the normalised field, NaN without cells.
    """

    redness: float
    density: NDArray[np.float64]


NORMAL_COLOUR = CellColour(float("nan"), np.array([0.215, 0.45, 0.29]))
"""Colour of a typical cell after normalisation."""


def typical_colour(*normalised: NDArray[np.float32]) -> CellColour:
    """Return the colour of a typical cell of windows of one field."""
    samples = []
    for window in normalised:
        cells = foreground_mask(window)[::_STEP, ::_STEP]
        samples.append(window[::_STEP, ::_STEP][cells])
    together = np.concatenate(samples)
    if not len(together):
        return CellColour(float("nan"), np.full(3, np.nan))
    redness = float(np.median(together[:, 0] - together[:, 2]))
    return CellColour(redness, np.median(_density(together), axis=0))


def foreign_mask(normalised: NDArray[np.float32], colour: CellColour = NORMAL_COLOUR) -> NDArray[np.bool_]:
    """Return the pixels ``(height, width)`` of a normalised field that are bluer than red, or black.

    Where the normalised light still turns all cells bluish, bluer than a typical cell of ``colour`` counts.
    """
    smooth = _smooth(normalised)
    return _bluish(smooth, colour) | _black(smooth)


def foreign_share(
    normalised: NDArray[np.float32],
    outlines: tuple[NDArray[np.float32], ...],
    colour: CellColour = NORMAL_COLOUR,
    diameter_px: float = 40.0,
) -> NDArray[np.float32]:
    """Return the share ``(n_cells,)`` of each outline that has a colour no red cell has.

    Beside what is bluish or black (`foreign_mask`) that is what is magenta and dense (granules,
    chromatin), or grey (a pointer). A bluish object of the size of a cell counts only where it is denser
    than a typical cell, since young red cells are bluish; one much smaller counts already where most of it
    is bluer than a typical cell. An outline that a printed line or
    a black pointer crosses has 1: what is seen there is no whole cell.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.
    outlines
        Polygons ``(n_points, 2)``, y and x in pixels of this field.
    colour
        That of a typical cell of the field.
    diameter_px
        Typical diameter of a cell in pixels.
    """
    smooth = _smooth(normalised)
    absolute = _density(smooth)
    density = absolute / (colour.density if np.isfinite(colour.density).all() else NORMAL_COLOUR.density)
    bluish = _bluish(smooth, colour)
    other = _black(smooth) | _magenta(absolute, density) | (_grey(absolute, density) & ~bluish)
    mark = _mark(normalised, colour)
    pixels = polygon_pixels([outline - 0.5 for outline in outlines]).within(bluish.shape)
    owner, inside, n = pixels.owner, (pixels.y, pixels.x), len(outlines)
    count = pixels.counts(n)
    diameter = 2 * np.sqrt(count / np.pi) / diameter_px
    blue = bluish[inside] & ((diameter < _WHOLE)[owner] | (density[..., 1] >= _PALE_GREEN)[inside])
    covered = np.bincount(owner, blue | other[inside], minlength=n)
    shares = (covered / np.maximum(count, 1)).astype(np.float32)
    marked = np.bincount(owner, mark[inside], minlength=n) >= _MARKED_SHARE * np.maximum(count, 1)
    first = np.cumsum(count) - count
    for row in np.flatnonzero((count > 0) & ((diameter < _SMALL) | marked)):
        own = slice(first[row], first[row] + count[row])
        y, x = pixels.y[own], pixels.x[own]
        if diameter[row] < _SMALL and _is_platelet(smooth[y, x], density[y, x]):
            shares[row] = max(shares[row], 0.5)
        if _is_crossed(mark[y, x], (y, x), diameter_px):
            shares[row] = 1.0
    return shares


def crossed(
    normalised: NDArray[np.float32], inside: NDArray[np.bool_], diameter_px: float
) -> NDArray[np.bool_]:
    """Return for which cells ``(n_cells,)`` a printed line or a black pointer crosses the pixels inside.

    Parameters
    ----------
    normalised
        ``(n_cells, height, width, 3)`` in 0 to 1, background 1.
    inside
        ``(n_cells, height, width)``
    diameter_px
        Typical diameter of a cell in pixels.
    """
    mark = _mark(normalised, NORMAL_COLOUR)
    pairs = zip(mark, inside, strict=True)
    return np.array([_is_crossed(m[own], np.nonzero(own), diameter_px) for m, own in pairs], dtype=bool)


def _mark(normalised: NDArray[np.float32], colour: CellColour) -> NDArray[np.bool_]:
    """Return the pixels of black or blue lines."""
    blue = normalised[..., 0] < normalised[..., 2] + _limit(colour) - _BLUE_MARK
    return np.asarray((_brightest(normalised) < _BLACK_MARK) | blue, dtype=bool)


def _brightest(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest of the three channels, in a tenth of the time of ``max``."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def _smooth(normalised: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(normalised, (1, 1, 0)), dtype=np.float32)


def _density(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(-np.log(np.maximum(values, 0.02)), dtype=np.float64)


def _limit(colour: CellColour) -> float:
    """Return the least excess of red over blue in a pixel of a red cell."""
    if np.isfinite(colour.redness):
        return min(-_BLUER_BY, colour.redness - _BLUER_THAN_TYPICAL)
    return -_BLUER_BY


def _bluish(smooth: NDArray[np.float32], colour: CellColour) -> NDArray[np.bool_]:
    return np.asarray(smooth[..., 0] < smooth[..., 2] + _limit(colour), dtype=bool)


def _black(smooth: NDArray[np.float32]) -> NDArray[np.bool_]:
    return _brightest(smooth) < _INK


def _magenta(absolute: NDArray[np.float64], density: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of magenta, dense pixels; ``density`` is relative to a typical cell."""
    red, green = density[..., 0], density[..., 1]
    dense = (green > _MAGENTA_GREEN) & (absolute[..., 1] > _DENSE_GREEN)
    return np.asarray((red < _MAGENTA_RATIO * green) & dense, dtype=bool)


def _grey(absolute: NDArray[np.float64], density: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of grey pixels; ``density`` is relative to a typical cell."""
    red, green = density[..., 0], density[..., 1]
    neutral = absolute[..., 0] > _GREY * absolute[..., 1]
    return np.asarray((red > _GREY_RATIO * green) & (green > _GREY_GREEN) & neutral, dtype=bool)


def _is_platelet(smooth: NDArray[np.float32], density: NDArray[np.float64]) -> bool:
    """Return whether most of a small object ``(n, 3)`` is bluish, as it is and for its field, not pale."""
    red, green, blue = np.median(density, axis=0)
    as_it_is = np.median(_density(smooth), axis=0)
    return bool(red > _PLATELET_RATIO * blue and as_it_is[0] > as_it_is[2] and green > _GREY_GREEN)


def _is_crossed(mark: NDArray[np.bool_], inside: tuple[NDArray[np.int64], ...], diameter_px: float) -> bool:
    """Return whether pixels of a mark cover a part of an outline and run across it."""
    if mark.mean() < _MARKED_SHARE:
        return False
    return bool(max(np.ptp(axis[mark]) for axis in inside) > _MARKED_LENGTH * diameter_px)
