"""Contours of many small images at one level, by marching squares for all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

Ints = NDArray[np.int64]

_TOP, _RIGHT, _BOTTOM, _LEFT = range(4)
_TURNS = (
    *((1, _TOP, _LEFT), (2, _RIGHT, _TOP), (3, _RIGHT, _LEFT), (4, _LEFT, _BOTTOM), (5, _TOP, _BOTTOM)),
    *((6, _RIGHT, _TOP), (6, _LEFT, _BOTTOM), (7, _RIGHT, _BOTTOM), (8, _BOTTOM, _RIGHT), (9, _TOP, _LEFT)),
    *((9, _BOTTOM, _RIGHT), (10, _BOTTOM, _TOP), (11, _BOTTOM, _LEFT), (12, _LEFT, _RIGHT)),
    *((13, _TOP, _RIGHT), (14, _LEFT, _TOP)),
)
"""Sides of a square of four pixels between which a contour runs, higher values on its left.

The number says which pixels are higher: 1 upper left, 2 upper right, 4 lower left, 8 lower right."""


def longest_contours(images: NDArray[Any], level: float) -> list[NDArray[np.float64]]:
    """Return the longest contour ``(n_points, 2)``, y and x, of each image; no point twice.

    Points, order and start are those of `skimage.measure.find_contours`.

    Parameters
    ----------
    images
        ``(n, height, width)``; the outermost pixels are lower than the level.
    """
    images = images.astype(np.float64)
    exact = (images == level).any(
        axis=(1, 2)
    )  # a contour through the centre of a pixel may meet itself there
    if exact.any():
        found = iter(longest_contours(images[~exact], level))
        return [
            _of_one(image, level) if one else next(found) for image, one in zip(images, exact, strict=True)
        ]
    start, stop = _segments(images > level)
    if not len(start):
        return [np.zeros((0, 2)) for _ in images]
    following = np.empty(2 * images.size, dtype=np.int64)
    following[start] = np.arange(len(start))
    following = following[stop]
    last = _greatest_of_cycle(following)
    cycle, first, n_points = np.unique(last, return_index=True, return_counts=True)
    owner = start[cycle] // (2 * images[0].size)
    best = np.lexsort((first, -n_points, owner))
    best = best[np.diff(owner[best], prepend=-1) > 0]
    points = _crossings(images, level, start)[_walk(following, last, cycle, n_points)]
    ends = np.cumsum(n_points)
    contours = [np.zeros((0, 2)) for _ in images]
    for number in best:
        contours[owner[number]] = points[ends[number] - n_points[number] : ends[number]]
    return contours


def _of_one(image: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return the longest contour of one image."""
    contours = find_contours(image, level)
    return np.asarray(max(contours, key=len)[:-1]) if contours else np.zeros((0, 2))


def _segments(high: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return the sides at which pieces of contours begin and end, square by square.

    A side is numbered by twice its upper or left pixel; one more where it runs down.
    """
    case = high[:, :-1, :-1] + 2 * high[:, :-1, 1:] + 4 * high[:, 1:, :-1] + 8 * high[:, 1:, 1:]
    width = high.shape[2]
    pixel = np.arange(high.size).reshape(high.shape)[:, :-1, :-1]
    side = {_TOP: 0, _LEFT: 1, _BOTTOM: 2 * width, _RIGHT: 3}
    order, start, stop = [], [], []
    for turn, (number, begin, end) in enumerate(_TURNS):
        here = pixel[case == number]
        order.append(here * len(_TURNS) + turn)
        start.append(2 * here + side[begin])
        stop.append(2 * here + side[end])
    ordered = np.argsort(np.concatenate(order))
    return np.concatenate(start)[ordered], np.concatenate(stop)[ordered]


def _crossings(images: NDArray[np.float64], level: float, sides: Ints) -> NDArray[np.float64]:
    """Return the points ``(n, 2)``, y and x, where sides between two pixels cross the level."""
    pixel, down = sides // 2, sides % 2
    width = images.shape[2]
    here, other = images.ravel()[pixel], images.ravel()[pixel + np.where(down, width, 1)]
    share = (level - here) / (other - here)
    y, x = np.divmod(pixel % images[0].size, width)
    return np.stack([y + share * down, x + share * (1 - down)], axis=1)


def _greatest_of_cycle(following: Ints) -> Ints:
    """Return the greatest number of the cycle of each number."""
    greatest, ahead = np.arange(len(following)), following
    while True:
        further = np.maximum(greatest, greatest[ahead])
        if (further == greatest).all():
            return greatest
        greatest, ahead = further, ahead[ahead]


def _walk(following: Ints, last: Ints, cycle: Ints, n_points: Ints) -> Ints:
    """Return the numbers cycle by cycle, each from that after its greatest to its greatest."""
    ahead = following.copy()
    ahead[cycle] = cycle  # the greatest is the end
    left = np.ones(len(following), dtype=np.int64)
    left[cycle] = 0
    for _ in range(int(n_points.max()).bit_length()):
        left, ahead = left + left[ahead], ahead[ahead]
    place = np.cumsum(n_points)[np.searchsorted(cycle, last)] - 1 - left
    walk = np.empty(len(following), dtype=np.int64)
    walk[place] = np.arange(len(following))
    return walk
