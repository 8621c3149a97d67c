"""Outlines of cells as polygons, from soft masks, and the area that two of them share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon
from skimage.measure import find_contours

from napari_amil.core.base.types import box_outline

_MOST_POINTS = 32  # of an outline; a soft mask of 28 x 28 knows no finer one
_MIN_OVERLAP_SHARE = 0.02  # of the smaller cell; below it two outlines merely touch


def mask_outline(mask: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the polygon ``(n_points, 2)``, y and x in pixels, where a soft mask crosses one half.

    Parameters
    ----------
    mask
        ``(height, width)`` probabilities on a grid that spans the box.
    box
        ``y0, x0, y1, x1`` in pixels. Where the mask is empty its corners are the outline.
    """
    contours = find_contours(np.pad(mask, 1), 0.5)
    if not contours:
        return box_outline(box)
    longest = max(contours, key=len)
    y0, x0, y1, x1 = box
    size = np.array([y1 - y0, x1 - x0])
    points = np.array([y0, x0]) + (longest - 0.5) / mask.shape * size
    points = np.clip(points, (y0, x0), (y1, x1))
    chosen = np.linspace(0, len(points) - 1, min(_MOST_POINTS, len(points) - 1), endpoint=False)
    return points[chosen.astype(int)].astype(np.float32)


def shared_area(
    boxes: NDArray[np.float32], outlines: tuple[NDArray[np.float32], ...], areas: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return pairs of cells whose outlines overlap, and by which share of the smaller cell.

    Returns
    -------
    pairs
        ``(n_pairs, 2)`` row numbers, the lower first.
    share
        ``(n_pairs,)`` in 0 to 1.
    """
    pairs, shares = [], []
    for first, second in _touching_boxes(boxes):
        low = np.floor(np.maximum(boxes[first, :2], boxes[second, :2]))
        high = np.ceil(np.minimum(boxes[first, 2:], boxes[second, 2:]))
        shape = tuple((high - low).astype(int))
        common = _filled(outlines[first] - low, shape) & _filled(outlines[second] - low, shape)
        share = float(common.sum()) / max(float(min(areas[first], areas[second])), 1.0)
        if share > _MIN_OVERLAP_SHARE:
            pairs.append((first, second))
            shares.append(min(share, 1.0))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(shares, dtype=np.float32)


def _touching_boxes(boxes: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the pairs of overlapping boxes; rows are compared with those that start before they end."""
    order = np.argsort(boxes[:, 0], kind="stable")
    y0, x0, y1, x1 = boxes[order].T
    pairs = []
    for i, row in enumerate(order):
        rivals = np.arange(i + 1, np.searchsorted(y0, y1[i]))
        near = rivals[(x0[rivals] < x1[i]) & (x1[rivals] > x0[i])]
        pairs += [(min(row, other), max(row, other)) for other in order[near]]
    return pairs


def _filled(points: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of a polygon on a small grid."""
    mask = np.zeros(shape, dtype=bool)
    mask[polygon(points[:, 0] - 0.5, points[:, 1] - 0.5, shape)] = True
    return mask
