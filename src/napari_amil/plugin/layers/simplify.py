"""Fewer corners for many outlines at once, so that thousands of cells are drawn without a wait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def simplified(outlines: Sequence[Points], tolerance_px: float) -> list[Points]:
    """Return the closed polygons with fewer corners, never farther than ``tolerance_px`` from the given ones.

    Douglas and Peucker's method (Cartographica 10, 1973), for all polygons in step: round by round the
    corner of each open piece that lies farthest from its chord is kept. Each outline ``(n_points, 2)`` keeps
    its first corner; one that would have fewer than three corners stays as it is.
    """
    if not outlines:
        return []
    sizes = np.array([len(outline) + 1 for outline in outlines])
    points = np.concatenate([np.concatenate([outline, outline[:1]]) for outline in outlines]).astype(float)
    ends = np.cumsum(sizes) - 1
    starts = ends - sizes + 1
    kept = np.zeros(len(points), dtype=bool)
    kept[starts] = True
    first, last = starts, ends
    while len(first):
        inside = last - first > 1
        first, last = first[inside], last[inside]
        if not len(first):
            break
        far, distance = _farthest(points, first, last)
        split = distance > tolerance_px
        kept[far[split]] = True
        first, far, last = first[split], far[split], last[split]
        first, last = np.concatenate([first, far]), np.concatenate([far, last])
    simple = [points[start:end][kept[start:end]] for start, end in zip(starts, ends, strict=True)]
    return [
        new if len(new) >= 3 and len(old) > 4 else np.asarray(old, float)
        for new, old in zip(simple, outlines, strict=True)
    ]


def _farthest(
    points: Points, first: NDArray[np.intp], last: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return which inner point of each piece lies farthest from its chord, and how far."""
    counts = last - first - 1
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
    piece = np.repeat(np.arange(len(first)), counts)
    inner = np.arange(counts.sum()) - begins[piece] + first[piece] + 1
    start = points[first][piece]
    chord = points[last][piece] - start
    offset = points[inner] - start
    length = np.maximum((chord**2).sum(axis=1), 1e-30)
    along = np.clip((offset * chord).sum(axis=1) / length, 0, 1)  # beyond an end, the end itself is nearest
    distance = np.linalg.norm(offset - along[:, None] * chord, axis=1)
    largest = np.maximum.reduceat(distance, begins)
    order = np.lexsort((-distance, piece))
    return inner[order[begins]], largest
