"""Classical segmentation of red cells (Otsu, watershed), with the clumps it cannot split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import regionprops
from skimage.segmentation import watershed

from napari_amil.core.images.foreground import fill_small_holes, foreground_mask

_SINGLE_AREA = 1.45  # a connected object up to this many typical areas is taken as one cell
_SINGLE_SOLIDITY = 0.87  # ... unless it is as notched as two touching cells
_ONE_CELL_AREA = 0.85  # an object this small is one cell whatever its shape
_PIECE_SOLIDITY = 0.89  # a piece of a split clump must be this convex to be believed
_PIECE_AREA = (0.3, 1.9)  # ... and have this many typical areas
_SMALLEST_CELL = 0.12  # typical areas; smaller objects are platelets, dirt or fragments of dirt


@dataclass(frozen=True, eq=False)
class FirstAnnotation:
    """Classical segmentation of one normalised field.

    Parameters
    ----------
    labels
        ``(height, width)`` int32; 0 = background, each cell its own number.
    doubtful
        ``(height, width)`` bool: clumps that could not be split with confidence. Training paints
        them over, so that nothing wrong is learned; dirt, nuclei and platelets stay, as background.
    isolated
        Numbers of the cells that stood alone inside the field, so that their outline is whole.
    """

    labels: NDArray[np.int32]
    doubtful: NDArray[np.bool_]
    isolated: tuple[int, ...]


def annotate(normalised: NDArray[np.float32], diameter_px: float) -> FirstAnnotation:
    """Return the cells that Otsu and watershed find with confidence, and where they are unsure.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.
    diameter_px
        Typical diameter of a cell in this field.
    """
    typical = np.pi / 4 * diameter_px**2
    foreign = _foreign_objects(normalised, diameter_px)
    mask = fill_small_holes(_cell_mask(normalised, diameter_px) & ~foreign, 0.2 * typical)
    objects, _ = ndimage.label(mask)
    labels = np.zeros(mask.shape, dtype=np.int32)
    doubtful = np.zeros(mask.shape, dtype=bool)
    isolated: list[int] = []
    for region in regionprops(objects):
        window = region.slice
        if region.area < _SMALLEST_CELL * typical:
            continue
        if _is_single(region.area / typical, region.solidity):
            number = int(labels.max()) + 1
            labels[window][region.image] = number
            if _is_inside(region.bbox, mask.shape):
                isolated.append(number)
        else:
            pieces, unsure = _split(region.image, diameter_px)
            target = labels[window]
            target[pieces > 0] = pieces[pieces > 0] + labels.max()
            doubtful[window] |= unsure
    return FirstAnnotation(labels, doubtful, tuple(isolated))


def segment_classically(normalised: NDArray[np.float32], diameter_px: float) -> NDArray[np.int32]:
    """Return every object that Otsu and watershed find, sure or not: the classical baseline."""
    typical = np.pi / 4 * diameter_px**2
    mask = _cell_mask(normalised, diameter_px)
    pieces = _watershed(mask, diameter_px)
    small = np.bincount(pieces.ravel()) < _SMALLEST_CELL * typical
    return np.where(small[pieces], 0, pieces).astype(np.int32)


def _cell_mask(normalised: NDArray[np.float32], diameter_px: float) -> NDArray[np.bool_]:
    """Return the foreground with open rims closed, pallor filled and threads cut."""
    mask = foreground_mask(normalised)
    closed = ndimage.binary_closing(np.pad(mask, 4), iterations=max(int(0.04 * diameter_px), 1))[4:-4, 4:-4]
    limit = 0.45 * np.pi / 4 * diameter_px**2
    holes = fill_small_holes(closed, limit) & ~closed
    return np.asarray(ndimage.binary_opening(fill_small_holes(mask | holes, limit), iterations=2), dtype=bool)


def _is_single(area: float, solidity: float) -> bool:
    """Return whether an object of ``area`` typical areas is one cell: too small or too convex for two."""
    return area <= _ONE_CELL_AREA or (area <= _SINGLE_AREA and solidity > _SINGLE_SOLIDITY)


def _is_inside(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> bool:
    """Return whether a box stays off the border of a field."""
    return min(box[:2]) > 0 and box[2] < shape[0] and box[3] < shape[1]


def _watershed(mask: NDArray[np.bool_], diameter_px: float) -> NDArray[np.int32]:
    """Return the mask split at the necks of its smoothed distance transform."""
    padded = np.pad(mask, 1, mode="edge")
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(padded)[1:-1, 1:-1], 0.05 * diameter_px)
    objects, _ = ndimage.label(mask)
    peaks = peak_local_max(
        depth,
        min_distance=max(int(0.3 * diameter_px), 1),
        threshold_abs=0.12 * diameter_px,
        labels=objects,
        exclude_border=False,
    )
    seeds = np.zeros(mask.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-depth, seeds, mask=mask), dtype=np.int32)


def _split(image: NDArray[np.bool_], diameter_px: float) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the pieces of a clump, numbered from 1, and the pixels of pieces not to be believed."""
    typical = np.pi / 4 * diameter_px**2
    pieces = _watershed(np.pad(image, 2), diameter_px)[2:-2, 2:-2]
    sure = np.zeros_like(pieces)
    for number, piece in enumerate(regionprops(pieces), start=1):
        share = piece.area / typical
        if _PIECE_AREA[0] < share < _PIECE_AREA[1] and piece.solidity > _PIECE_SOLIDITY:
            sure[pieces == piece.label] = number
    return sure, image & (sure == 0)


def nucleated(normalised: NDArray[np.float32], diameter_px: float) -> NDArray[np.bool_]:
    """Return the pixels of white cells and around them: large objects of the colour of a nucleus."""
    whole, _ = _foreign_parts(normalised, diameter_px)
    return np.asarray(ndimage.binary_dilation(whole, iterations=max(int(0.3 * diameter_px), 1)))


def _foreign_objects(normalised: NDArray[np.float32], diameter_px: float) -> NDArray[np.bool_]:
    """Return objects of a colour that no red cell has: nuclei, platelets, ink, pointers, scale bars."""
    whole, cores = _foreign_parts(normalised, diameter_px)
    return np.asarray(whole | ndimage.binary_dilation(cores, iterations=max(int(0.07 * diameter_px), 1)))


def _foreign_parts(
    normalised: NDArray[np.float32], diameter_px: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the large objects of a colour that no red cell has, widened, and all such pixels."""
    red, green, blue = np.moveaxis(ndimage.gaussian_filter(normalised, (1, 1, 0)), 2, 0)
    nucleus = (green < 0.42) & (red < blue + 0.02) & (red < 0.72)
    ink = (red < 0.38) & (blue < 0.45)
    painted = (blue < 0.35) & (green > 0.5) | ((green > red + 0.12) & (green > blue + 0.05))
    cores = ndimage.binary_opening(nucleus | ink | painted, iterations=1)
    labels, _ = ndimage.label(cores)
    large = np.bincount(labels.ravel()) > 0.3 * np.pi / 4 * diameter_px**2
    large[0] = False
    whole_cells = ndimage.binary_dilation(large[labels], iterations=max(int(0.3 * diameter_px), 1))
    return np.asarray(whole_cells, dtype=bool), np.asarray(cores, dtype=bool)
