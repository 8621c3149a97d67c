"""Nucleus and cell in the image of a white cell, and its stain normalised by the nucleus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_multiotsu, threshold_otsu
from skimage.morphology import disk

from napari_amil.core.base.settings import NormalisationSettings
from napari_amil.core.base.types import Image

NUCLEUS_OPTICAL_DENSITY = (1.05, 1.45, 0.75)
"""Optical density (natural logarithm) in red, green and blue that a nucleus gets; any other would do."""

_DENSITY_SHOWN = 0.75  # share of the optical density kept in the result, so that dark nuclei do not clip
_SAMPLE_PX = 96  # thresholds are found on an image of about this side
_OF_DENSEST = 0.62  # of the mean of the densest class: a nucleus of clumps is one nucleus
_LEAST_SHARE = 0.004  # of the image; what is smaller is no nucleus
_LOBE_SHARE = 0.1  # of the largest part of the nucleus; smaller parts are platelets and dirt
_LOBE_GAP = 0.08  # shorter sides of the image between two lobes of one nucleus, at most
_REACH = 0.9  # diameters of the nucleus beyond it that cytoplasm is looked for
_REDDISH = 1.08  # density in blue over that in red above which a pixel is haemoglobin, not cytoplasm


@dataclass(frozen=True, eq=False)
class WhiteCellMasks:
    """Masks of nucleus and cell in the image of a white cell.

    Parameters
    ----------
    nucleus, cell
        ``(height, width)`` bool; the cell includes the nucleus. Both are empty where no nucleus is seen.
    """

    nucleus: NDArray[np.bool_]
    cell: NDArray[np.bool_]


def normalise_by_nucleus(image: Image, settings: NormalisationSettings) -> NDArray[np.float32]:
    """Return the image with background 1 and the nucleus at a fixed optical density per channel.

    The background is the median of the brightest pixels; the density ``-ln(I / background)`` is scaled
    per channel so that its median over the nucleus takes the wanted value, by at most ``max_gain``.
    Where no nucleus is seen, the stain is left as it is.

    Parameters
    ----------
    image
        ``(height, width, 3)``, RGB, 0 to 255.
    settings
        Its ``max_gain``; the illumination of so small an image is taken as even.

    Returns
    -------
    ``(height, width, 3)`` in 0 to 1.
    """
    density = _density(image)
    inside = _nucleus(density)
    if inside.any():
        median = np.maximum(np.median(density[inside], axis=0), 1e-3)
        wanted = np.asarray(NUCLEUS_OPTICAL_DENSITY, dtype=np.float32)
        density *= np.clip(wanted / median, 1 / settings.max_gain, settings.max_gain)
    return np.asarray(np.exp(-_DENSITY_SHOWN * density), dtype=np.float32)


def optical_density(normalised: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the optical density ``(height, width, 3)`` of the result of `normalise_by_nucleus`."""
    return np.asarray(-np.log(np.maximum(normalised, 1e-3)) / _DENSITY_SHOWN, dtype=np.float32)


def white_cell_masks(normalised: NDArray[np.float32]) -> WhiteCellMasks:
    """Return nucleus and cell of a normalised image.

    The nucleus is the densest of three classes in red, which haemoglobin hardly absorbs (multi-level
    Otsu), near the middle of the image, with its lobes. The cell is what is stained around it without
    the colour of haemoglobin, not farther away than 0.9 diameters of the nucleus.
    """
    density = optical_density(normalised)
    nucleus = _nucleus(density)
    return WhiteCellMasks(nucleus, _cell(density, nucleus) if nucleus.any() else nucleus)


def _density(image: Image) -> NDArray[np.float32]:
    """Return the optical density ``(height, width, 3)``, 0 or more, over the background."""
    values = np.maximum(image.astype(np.float32), 1.0)
    sample = values[:: max(1, len(values) // _SAMPLE_PX), :: max(1, values.shape[1] // _SAMPLE_PX)]
    green = sample[..., 1]
    bright = green >= (threshold_otsu(green) if np.ptp(green) > 1 else green.min())
    background = np.median(sample[bright], axis=0)
    return np.maximum(np.log(background) - np.log(values), 0.0).astype(np.float32)


def _nucleus(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels of the nucleus; none where no dense object lies near the middle."""
    red = ndimage.gaussian_filter(density[..., 0], 1.0)
    step = max(1, min(red.shape) // _SAMPLE_PX)
    sample = red[::step, ::step]
    if len(np.unique(sample)) < 3 or np.ptp(sample) < 0.1:
        return np.zeros(red.shape, dtype=bool)
    between = float(threshold_multiotsu(sample, classes=3, nbins=64)[1])
    mask = red > min(between, _OF_DENSEST * float(sample[sample > between].mean()))
    labels, n_parts = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(mask, disk(1))))
    if not n_parts:
        return np.zeros(red.shape, dtype=bool)
    numbers = np.arange(1, n_parts + 1)
    area = ndimage.sum_labels(labels > 0, labels, numbers)
    centre = np.array(ndimage.center_of_mass(labels > 0, labels, numbers))
    side = min(red.shape)
    far = np.linalg.norm(centre - (np.array(red.shape) - 1) / 2, axis=1) / side
    main = int(np.argmax(area * np.exp(-((far / 0.25) ** 2))))
    if area[main] < _LEAST_SHARE * red.size:
        return np.zeros(red.shape, dtype=bool)
    gap = ndimage.distance_transform_edt(labels != numbers[main])
    near = ndimage.minimum(gap, labels, numbers) <= _LOBE_GAP * side
    return np.asarray(np.isin(labels, numbers[near & (area >= _LOBE_SHARE * area[main])]), dtype=bool)


def _cell(density: NDArray[np.float32], nucleus: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of the cell around its nucleus."""
    smooth = ndimage.gaussian_filter(density, (1.0, 1.0, 0.0))
    grey = smooth.mean(axis=2)
    stained = grey > np.clip(0.5 * threshold_otsu(grey), 0.06, 0.18)
    reddish = smooth[..., 2] > _REDDISH * smooth[..., 0]
    diameter = np.sqrt(4 / np.pi * nucleus.sum())
    near = ndimage.distance_transform_edt(~nucleus) <= _REACH * diameter
    opened = ndimage.binary_opening(stained & ~reddish & near, disk(2)) | nucleus
    labels, _ = ndimage.label(opened)
    own = np.isin(labels, np.unique(labels[nucleus]))
    closed = ndimage.binary_closing(own, disk(2)) | own
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)
