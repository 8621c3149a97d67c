"""Convert polygons, run-length masks and ids of other programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.types import box_outline, polygon_area

_WKT = re.compile(r"\s*POLYGON\s*\(\s*\(([^()]*)\)", re.IGNORECASE)
_LARGEST_ID = 2.0**53
_LARGEST_PX = 1e9
_LARGEST_MASK_PX = 1 << 26
_SLACK_PX = 1.0  # an outline that leaves its stored box by more was redrawn in another program


class NoAreaError(ValueError):
    """Points that enclose no area."""


def ring(outline: NDArray[np.float32], box: NDArray[np.float32]) -> list[list[float]]:
    """Return an outline ``(n_points, 2)`` of y, x as points x, y; the box where it has under three."""
    points = outline if len(outline) >= 3 else box_outline(box)
    return [[float(x), float(y)] for y, x in points]


def outline_of(points: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Return points x, y as an outline ``(n_points, 2)`` of y, x, without the repeated end.

    Raises
    ------
    ValueError
        As `as_pixels`.
    NoAreaError
        If there are fewer than three points, or they enclose nothing.
    """
    pairs = np.array([point[:2] for point in points], dtype=np.float64).reshape(-1, 2)
    if len(pairs) > 1 and (pairs[0] == pairs[-1]).all():
        pairs = pairs[:-1]
    outline = as_pixels(pairs[:, ::-1])
    if len(outline) < 3 or (np.ptp(outline, axis=0) <= 0).any():
        raise NoAreaError("a polygon needs three points that enclose an area")
    return outline


def as_pixels(values: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """Return coordinates as float32.

    Raises
    ------
    ValueError
        If one is no number, or lies beyond any image.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.abs(numbers) <= _LARGEST_PX).all():
        raise ValueError("a coordinate is no number of pixels")
    return numbers.astype(np.float32)


def largest_outline(parts: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.float32]:
    """Return the largest of the outlines of a shape in several parts; parts without an area do not count.

    Raises
    ------
    NoAreaError
        If no part encloses an area.
    """
    outlines = []
    for part in parts:
        with suppress(NoAreaError):
            outlines.append(outline_of(part))
    if not outlines:
        raise NoAreaError("a polygon needs three points that enclose an area")
    return max(outlines, key=polygon_area)


def bounds(outline: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the box y0, x0, y1, x1 around an outline."""
    return np.concatenate([outline.min(axis=0), outline.max(axis=0)])


def still_fits(outline: NDArray[np.float32], box: NDArray[np.float32]) -> bool:
    """Return whether an outline lies in its stored box, so that both are of the same cell."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    return bool((low >= box[:2] - _SLACK_PX).all() and (high <= box[2:] + _SLACK_PX).all())


def fill_ids(stored: NDArray[Any]) -> NDArray[np.int64]:
    """Return whole ids, the missing and all but the first of equal ones replaced by the next free numbers.

    What is no whole number from 1 to 2**53 counts as missing.
    """
    numbers = np.asarray(stored, dtype=np.float64)
    usable = (numbers >= 1) & (numbers <= _LARGEST_ID) & (numbers == np.round(numbers))
    ids = np.where(usable, numbers, 0).astype(np.int64)
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


def mask_of_runs(segmentation: dict[str, Any]) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Return the mask of a run-length encoding of COCO, cropped to its columns, and its corner y, x.

    Runs alternate between background and object and go down the columns. They are numbers, or the
    text into which COCO packs them: six bits a character, differences to the run before last.

    Raises
    ------
    ValueError
        If the runs do not fill the stated size, or mark a window too large for a cell.
    """
    height, width = (int(side) for side in segmentation["size"])
    counts = segmentation["counts"]
    runs = np.array(_unpacked(counts) if isinstance(counts, str) else counts, dtype=np.int64)
    if height < 1 or width < 1 or (runs < 0).any() or int(sum(runs.tolist())) != height * width:
        raise ValueError("the runs of a mask do not fill its size")
    ends = np.cumsum(runs)
    drawn = np.flatnonzero((np.arange(len(runs)) % 2 == 1) & (runs > 0))
    if not len(drawn):
        return np.zeros((height, 0), dtype=bool), (0, 0)
    first, last = int(ends[drawn[0]] - runs[drawn[0]]) // height, int(ends[drawn[-1]] - 1) // height
    if height * (last + 1 - first) > _LARGEST_MASK_PX:
        raise ValueError("a mask is too large for a cell")
    column = np.zeros(height * (last + 1 - first) + 1, dtype=np.int8)
    np.add.at(column, ends[drawn] - runs[drawn] - first * height, 1)
    np.add.at(column, ends[drawn] - first * height, -1)
    filled = np.cumsum(column[:-1]) > 0
    return filled.reshape(last + 1 - first, height).T, (0, first)


def _unpacked(text: str) -> list[int]:
    """Return the runs that COCO packs into a text."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("the text of a mask is damaged")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the text of a mask is cut short")
    return runs
