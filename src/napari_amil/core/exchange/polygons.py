"""Polygons and ids of other programs: points in x and y, with or without a repeated end; ids missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.types import box_outline

_WKT = re.compile(r"\s*POLYGON\s*\(\s*\(([^()]*)\)", re.IGNORECASE)
_SLACK_PX = 1.0  # an outline that leaves its stored box by more was redrawn in another program


def ring(outline: NDArray[np.float32], box: NDArray[np.float32]) -> list[list[float]]:
    """Return an outline ``(n_points, 2)`` of y, x as points x, y; the box where it has under three."""
    points = outline if len(outline) >= 3 else box_outline(box)
    return [[float(x), float(y)] for y, x in points]


def outline_of(points: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Return points x, y as an outline ``(n_points, 2)`` of y, x, without the repeated end.

    Raises
    ------
    ValueError
        If there are fewer than three points, or they enclose nothing.
    """
    pairs = np.array([point[:2] for point in points], dtype=np.float64).reshape(-1, 2)
    if len(pairs) > 1 and (pairs[0] == pairs[-1]).all():
        pairs = pairs[:-1]
    outline = pairs[:, ::-1].astype(np.float32)
    if len(outline) < 3 or not np.isfinite(outline).all() or (np.ptp(outline, axis=0) <= 0).any():
        raise ValueError("a polygon needs three points that enclose an area")
    return outline


def bounds(outline: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the box y0, x0, y1, x1 around an outline."""
    return np.concatenate([outline.min(axis=0), outline.max(axis=0)])


def still_fits(outline: NDArray[np.float32], box: NDArray[np.float32]) -> bool:
    """Return whether an outline lies in its stored box, so that both are of the same cell."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    return bool((low >= box[:2] - _SLACK_PX).all() and (high <= box[2:] + _SLACK_PX).all())


def fill_ids(stored: NDArray[Any]) -> NDArray[np.int64]:
    """Return the ids with 0, and all but the first of equal ones, replaced by the next free numbers."""
    ids = stored.astype(np.int64)
    _, first = np.unique(ids, return_index=True)
    missing = np.ones(len(ids), dtype=bool)
    missing[first] = False
    missing |= ids < 1
    start = int(ids.max(initial=0)) + 1
    ids[missing] = np.arange(start, start + missing.sum())
    return ids


def to_wkt(outline: NDArray[Any], box: NDArray[np.float32]) -> str:
    """Return an outline as well-known text (OGC): ``POLYGON ((x y, ...))``, the first point repeated."""
    points = ring(outline, box)
    return f"POLYGON (({', '.join(f'{x!r} {y!r}' for x, y in [*points, points[0]])}))"


def from_wkt(text: str) -> NDArray[np.float32]:
    """Return the outline ``(n_points, 2)`` of y, x of a ``POLYGON``; its holes are left out.

    Raises
    ------
    ValueError
        If the text is no polygon.
    """
    found = _WKT.match(text)
    if found is None:
        raise ValueError(f"'{text[:40]}' is no POLYGON ((x y, ...))")
    return outline_of([[float(part) for part in point.split()] for point in found[1].split(",")])
