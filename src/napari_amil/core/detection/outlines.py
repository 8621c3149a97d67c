"""Outlines of cells as polygons, from soft masks, and the area that two of them share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.types import box_outline
from napari_amil.core.detection.contours import longest_contours
from napari_amil.core.images.rasters import polygon_pixels

_MOST_POINTS = 32  # of an outline; a soft mask of 28 x 28 knows no finer one
_MIN_OVERLAP_SHARE = 0.02  # of the smaller cell; below it two outlines merely touch


def mask_outline(mask: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the outline of one soft mask ``(height, width)`` in its box; see `mask_outlines`."""
    return mask_outlines(mask[None], np.asarray(box)[None])[0]


def mask_outlines(masks: NDArray[np.float32], boxes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the polygons ``(n_points, 2)``, y and x in pixels, where soft masks cross one half.

    Of several contours of a mask the longest counts.

    Parameters
    ----------
    masks
        ``(n, height, width)`` probabilities on grids that span the boxes.
    boxes
        ``(n, 4)`` as ``y0, x0, y1, x1`` in pixels. Where a mask is empty the corners are the outline.
    """
    outlines = []
    for contour, box in zip(
        longest_contours(np.pad(masks, ((0, 0), (1, 1), (1, 1))), 0.5), boxes, strict=True
    ):
        if not len(contour):
            outlines.append(box_outline(box))
            continue
        y0, x0, y1, x1 = box
        size = np.array([y1 - y0, x1 - x0])
        points = np.array([y0, x0]) + (contour - 0.5) / masks.shape[1:] * size
        points = np.clip(points, (y0, x0), (y1, x1))
        chosen = np.linspace(0, len(points), min(_MOST_POINTS, len(points)), endpoint=False)
        outlines.append(points[chosen.astype(int)].astype(np.float32))
    return outlines


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
    common = _common_pixels(outlines)
    for first, second in _touching_boxes(boxes) if common else []:
        share = common.get((first, second), 0) / max(float(min(areas[first], areas[second])), 1.0)
        if share > _MIN_OVERLAP_SHARE:
            pairs.append((first, second))
            shares.append(min(share, 1.0))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(shares, dtype=np.float32)


def _common_pixels(outlines: tuple[NDArray[np.float32], ...]) -> dict[tuple[int, int], int]:
    """Return the number of pixels that two outlines share, by their numbers, the lower first."""
    pixels = polygon_pixels([outline - 0.5 for outline in outlines])
    order = np.lexsort((pixels.owner, pixels.x, pixels.y))
    owner, y, x = pixels.owner[order], pixels.y[order], pixels.x[order]
    found = [np.zeros((0, 2), np.int64)]
    for shift in range(1, len(outlines)):  # as far as that many outlines share a pixel
        same = (y[shift:] == y[:-shift]) & (x[shift:] == x[:-shift])
        if not same.any():
            break
        found.append(np.stack([owner[:-shift][same], owner[shift:][same]], axis=1))
    rows, counts = np.unique(np.concatenate(found), axis=0, return_counts=True)
    return {(int(first), int(second)): int(n) for (first, second), n in zip(rows, counts, strict=True)}


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
