"""Foreground of a normalised field, typical cell diameter, and scale for the networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

REFERENCE_DIAMETER_PX = 40.0
"""Diameter of a typical red cell in pixels at the scale that the networks see."""
SAME_SCALE = (0.75, 1.33)
"""Biology moves the diameter this much; beyond it is another magnification."""


def foreground_mask(normalised: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels ``(height, width)`` of a normalised field that belong to cells.

    Otsu's threshold on the mean of red, green and blue, held between 0.7 and 0.93 so that an
    empty field stays empty; small holes, such as the central pallor, are filled.
    """
    grey = ndimage.gaussian_filter(normalised.mean(axis=2), 1.0)
    threshold = float(np.clip(threshold_otsu(grey) + 0.04, 0.70, 0.93)) if np.ptp(grey) > 1e-3 else 0.7
    return np.asarray(grey < threshold, dtype=bool)


def fill_small_holes(mask: NDArray[np.bool_], max_area_px: float) -> NDArray[np.bool_]:
    """Return the mask with every hole of at most ``max_area_px`` square pixels filled."""
    labels, _ = ndimage.label(~mask)
    small = np.bincount(labels.ravel()) <= max_area_px
    small[0] = False
    return np.asarray(mask | small[labels], dtype=bool)


def typical_diameter(*normalised: NDArray[np.float32]) -> float:
    """Return the diameter in pixels of a typical cell of windows of one field, NaN where none stands alone.

    Each compact object that does not touch the border of its window counts with its area, so that a
    thousand specks of dirt do not outvote fifty cells.
    """
    found = [_lone_objects(window) for window in normalised]
    diameter, area = (np.concatenate(column) for column in zip(*found, strict=True))
    if not len(diameter):
        return float("nan")
    order = np.argsort(diameter)
    share = np.cumsum(area[order]) / area.sum()
    return float(diameter[order][np.searchsorted(share, 0.5)])


def _lone_objects(normalised: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return diameter and area of every compact object that the border does not cut."""
    found = compact_objects(normalised)
    return found.diameter[found.compact], found.area[found.compact]


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of the foreground.

    Parameters
    ----------
    labels
        ``(height, width)`` number of the object at each pixel, from 1; 0 for the background.
    area, diameter
        ``(n_objects,)`` in pixels; the diameter is that of a disc of the same area.
    inside, compact
        ``(n_objects,)`` whether the border of the picture leaves it whole, and whether it is also round.
    """

    labels: NDArray[np.int32]
    area: NDArray[np.float64]
    diameter: NDArray[np.float64]
    inside: NDArray[np.bool_]
    compact: NDArray[np.bool_]


def compact_objects(normalised: NDArray[np.float32]) -> Objects:
    """Return the objects of a normalised field, and which of them are whole and round."""
    mask = ndimage.binary_fill_holes(foreground_mask(normalised))
    labels, n_objects = ndimage.label(mask)
    area = np.bincount(labels.ravel(), minlength=n_objects + 1)[1:].astype(np.float64)
    bounds = [[(axis.start, axis.stop) for axis in window] for window in ndimage.find_objects(labels)]
    first, last = np.moveaxis(np.array(bounds, dtype=np.int64).reshape(-1, 2, 2), 2, 0)  # (n_objects, 2) each
    inside = (first > 0).all(axis=1) & (last < mask.shape).all(axis=1)
    sides = last - first
    round_enough = (sides.max(axis=1) < 1.35 * sides.min(axis=1)) & (area > 0.68 * sides.prod(axis=1))
    compact = inside & round_enough & (area > 60)
    return Objects(labels, area, np.sqrt(4 * area / np.pi), inside, compact)


def network_scale(diameter_px: float) -> float:
    """Return the factor by which a field is resized before a network sees it.

    A diameter within 0.75 to 1.33 of the reference leaves the field as it is, so that microcytes
    stay small and macrocytes large; only another magnification is undone.
    """
    ratio = diameter_px / REFERENCE_DIAMETER_PX
    if not np.isfinite(ratio) or SAME_SCALE[0] <= ratio <= SAME_SCALE[1]:
        return 1.0
    return 1.0 / ratio
