"""Pixels inside many polygons at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

Ints = NDArray[np.int64]
_ON_EDGE = 1e-9  # pixels; a pixel whose centre lies on an edge is inside


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels inside polygons, ordered by polygon.

    Parameters
    ----------
    owner
        ``(n_pixels,)`` number of the polygon.
    y, x
        ``(n_pixels,)`` row and column.
    """

    owner: Ints
    y: Ints
    x: Ints

    def counts(self, n: int) -> Ints:
        """Return the number of pixels of each of ``n`` polygons."""
        return np.bincount(self.owner, minlength=n)

    def within(self, shape: tuple[int, ...]) -> Pixels:
        """Return the pixels that lie in an image ``(height, width)``."""
        inside = (self.y >= 0) & (self.x >= 0) & (self.y < shape[0]) & (self.x < shape[1])
        return Pixels(self.owner[inside], self.y[inside], self.x[inside])


def polygon_pixels(polygons: Sequence[NDArray[Any]]) -> Pixels:
    """Return the pixels whose centres lie in polygons, by the even-odd rule; edges are inside.

    The centre of a pixel has whole coordinates, as in `skimage.draw.polygon`, whose pixels these are.

    Parameters
    ----------
    polygons
        ``(n_points, 2)`` each, y and x.
    """
    n_points = np.array([len(points) for points in polygons], dtype=np.int64)
    if not n_points.sum():
        return _joined([])
    corners = np.concatenate([np.asarray(points, np.float64).reshape(-1, 2) for points in polygons])
    owner = np.repeat(np.arange(len(polygons)), n_points)
    last = np.cumsum(n_points) - 1
    following = np.arange(1, len(corners) + 1)
    following[last[n_points > 0]] = (last - n_points + 1)[n_points > 0]
    whole = np.bincount(owner, (corners[:, 0] % 1 == 0), minlength=len(polygons)) > 0
    swept = _swept(owner, corners, corners[following], whole)
    exact = [
        _drawn(row, polygons[row]) for row in np.flatnonzero(whole).tolist()
    ]  # an edge may lie along a row
    return _joined([swept, *exact])


def _swept(
    owner: Ints, start: NDArray[np.float64], end: NDArray[np.float64], left_out: NDArray[np.bool_]
) -> Pixels:
    """Return the pixels between the crossings of edges with the rows of pixels."""
    rising = start[:, 0] < end[:, 0]
    low, high = np.where(rising[:, None], start, end), np.where(rising[:, None], end, start)
    first, stop = np.ceil(low[:, 0]).astype(np.int64), np.ceil(high[:, 0]).astype(np.int64)
    n_rows = np.where(left_out[owner], 0, stop - first)
    edge = np.repeat(np.arange(len(owner)), n_rows)
    y = np.arange(len(edge)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + first[edge]
    share = (y - low[edge, 0]) / (high[edge, 0] - low[edge, 0])
    x = low[edge, 1] + share * (high[edge, 1] - low[edge, 1])
    order = np.lexsort((x, y, owner[edge]))
    edge, y, x = edge[order], y[order], x[order]
    begin = np.ceil(x[::2] - _ON_EDGE).astype(np.int64)  # every row crosses a closed outline in pairs
    width = np.maximum(np.floor(x[1::2] + _ON_EDGE).astype(np.int64) - begin + 1, 0)
    span = np.repeat(np.arange(len(begin)), width)
    column = np.arange(len(span)) - np.repeat(np.cumsum(width) - width, width) + begin[span]
    return Pixels(owner[edge[::2]][span], y[::2][span], column)


def _drawn(row: int, points: NDArray[Any]) -> Pixels:
    """Return the pixels of one polygon as scikit-image draws it."""
    corner = np.floor(points.min(axis=0)).astype(np.int64)
    y, x = polygon(points[:, 0] - corner[0], points[:, 1] - corner[1])
    return Pixels(np.full(len(y), row, dtype=np.int64), y + corner[0], x + corner[1])


def _joined(parts: Sequence[Pixels]) -> Pixels:
    """Return the pixels of several parts, ordered by polygon."""
    nothing = np.zeros(0, np.int64)
    owner, y, x = (
        np.concatenate([nothing, *(getattr(part, name) for part in parts)]) for name in ("owner", "y", "x")
    )
    order = np.argsort(owner, kind="stable")
    return Pixels(owner[order], y[order], x[order])
