"""Moments, radii and depths of many small masks at once, in grid pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage

from napari_amil.core.base.types import Floats
from napari_amil.core.morphology.stacks import Bools

N_ANGLES = 96
"""Rays on which an outline is sampled."""
_ANGLES = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
_RAYS = np.stack([np.sin(_ANGLES), np.cos(_ANGLES)])  # (2, N_ANGLES), y and x
_LONGEST_RAY = 48.0  # grid pixels, half the side of a whole grid
_STEPS_AT_ONCE = 8  # samples of a ray that a sum takes together
_ON_EDGE = 1e-9  # grid pixels; the centre of a pixel on the hull is inside
_FEWEST_PIXELS = 16  # a region smaller than this has no shape


def area_of(weight: Floats | Bools) -> Floats:
    """Return the sum of each plane, ``(n,)``."""
    return np.asarray(weight.sum(axis=(1, 2)), dtype=np.float64)


def mean_of(values: Floats, where: Bools) -> Floats:
    """Return the mean ``(n,)`` of the pixels of each plane; NaN where there are none."""
    count = area_of(where)
    total = np.einsum("nij,nij->n", values, where, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def percentile_of(values: Floats, where: Bools, percent: float) -> Floats:
    """Return a percentile ``(n,)`` of the pixels of each plane; NaN where there are none."""
    found = np.full(len(values), np.nan)
    for row, (plane, pixels) in enumerate(zip(values, where, strict=True)):
        seen = plane[pixels]
        if len(seen):
            at = max(math.ceil(percent / 100 * len(seen)) - 1, 0)
            found[row] = np.partition(seen, at)[at]
    return found


def centroids(weight: Floats | Bools) -> Floats:
    """Return the centres of mass ``(n, 2)``, y and x."""
    axis = np.arange(weight.shape[1])
    total = np.maximum(area_of(weight), 1e-9)
    return np.stack([weight.sum(axis=2) @ axis / total, weight.sum(axis=1) @ axis / total], axis=1)


def covariances(weight: Floats) -> Floats:
    """Return the second central moments ``(n, 2, 2)``, y and x; of a pixel itself 1/12."""
    axis, centre = np.arange(weight.shape[1]), centroids(weight)
    y, x = axis - centre[:, :1], axis - centre[:, 1:]
    total = np.maximum(area_of(weight), 1e-9)
    yy = (weight.sum(axis=2) * y**2).sum(axis=1) / total + 1 / 12
    xx = (weight.sum(axis=1) * x**2).sum(axis=1) / total + 1 / 12
    xy = np.einsum("nij,ni,nj->n", weight, y, x, optimize=True) / total
    return np.stack([np.stack([yy, xy], axis=1), np.stack([xy, xx], axis=1)], axis=1)


def aspect_ratio(weight: Floats) -> Floats:
    """Return long over short axis ``(n,)`` of the ellipse with the same moments; 1 of next to nothing."""
    low, high = np.linalg.eigvalsh(covariances(weight)).T
    return np.where(area_of(weight > 0) >= _FEWEST_PIXELS, np.sqrt(high / np.maximum(low, 1e-9)), 1.0)


def compactness(weight: Floats) -> Floats:
    """Return area over ``2 pi`` times the summed variances ``(n,)``: 1 of a disc, less of all else."""
    area = area_of(weight)
    spread = 2 * np.pi * np.trace(covariances(weight), axis1=1, axis2=2)
    return np.where(area >= _FEWEST_PIXELS, np.minimum(area / spread, 1.0), 1.0)


def skewness(weight: Floats) -> Floats:
    """Return the absolute skewness ``(n,)`` of the mass along its long axis: 0 where both ends are alike."""
    _, vectors = np.linalg.eigh(covariances(weight))
    axis, centre = np.arange(weight.shape[1]), centroids(weight)
    y, x = axis - centre[:, :1], axis - centre[:, 1:]
    along = y[:, :, None] * vectors[:, 0, 1, None, None] + x[:, None, :] * vectors[:, 1, 1, None, None]
    square = along * along
    second = np.einsum("nij,nij->n", weight, square)
    third = np.einsum("nij,nij,nij->n", weight, square, along)
    total = np.maximum(area_of(weight), 1e-9)
    skew: Floats = np.abs(third / total) / np.maximum(second / total, 1e-9) ** 1.5
    return skew


def radii(soft: Floats) -> Floats:
    """Return the distance ``(n, N_ANGLES)`` from the centroid to the outline of soft masks along each ray."""
    centre = centroids(soft)
    side = soft.shape[1]
    steps = np.arange(0.25, min(_reach(soft, centre), _LONGEST_RAY), 0.5)
    places = np.empty((len(soft), N_ANGLES, len(steps), 2))
    for axis, last in ((0, 1), (1, 0)):  # the sampler wants x before y, in -1 to 1
        places[..., last] = (centre[:, axis, None, None] + _RAYS[axis, :, None] * steps) * 2 / (side - 1) - 1
    planes, grid = torch.from_numpy(soft)[:, None], torch.from_numpy(places)
    values = torch.nn.functional.grid_sample(planes, grid, padding_mode="zeros", align_corners=True)
    return np.asarray(0.5 * values[:, 0].numpy().sum(axis=2), dtype=np.float64)


def _reach(soft: Floats, centre: Floats) -> float:
    """Return the largest reach of a mask from its centre, in whole blocks: no sum depends on other masks."""
    axis = np.arange(soft.shape[1])
    y, x = (np.abs(axis - centre[:, i, None]) for i in (0, 1))
    farthest = [np.where(soft.any(axis=a), d, 0).max(initial=0) for a, d in ((2, y), (1, x))]
    return _STEPS_AT_ONCE * 0.5 * float(np.ceil((np.hypot(*farthest) + 1) / (_STEPS_AT_ONCE * 0.5)))


def ellipse_radii(soft: Floats) -> Floats:
    """Return the radii ``(n, N_ANGLES)`` of the ellipse with the same second moments along each ray."""
    precision = np.linalg.inv(covariances(soft))
    return np.asarray(2 / np.sqrt(np.einsum("ia,nij,ja->na", _RAYS, precision, _RAYS)), dtype=np.float64)


def outline_points(radius: Floats) -> Floats:
    """Return the outlines ``(n, N_ANGLES, 2)``, y and x from the centroid, of radii ``(n, N_ANGLES)``."""
    points: Floats = radius[:, :, None] * _RAYS.T
    return points


def perimeter(points: Floats) -> Floats:
    """Return the length ``(n,)`` of closed outlines ``(n, n_points, 2)``."""
    sides = np.diff(points, axis=1, append=points[:, :1])
    return np.asarray(np.hypot(*np.moveaxis(sides, 2, 0)).sum(axis=1), dtype=np.float64)


def hull_perimeter(points: Floats) -> Floats:
    """Return the perimeter ``(n,)`` of the convex hull: pi times the mean width (Cauchy)."""
    along = points @ _RAYS[:, : N_ANGLES // 2]
    return np.asarray(np.pi * np.ptp(along, axis=1).mean(axis=1), dtype=np.float64)


def depths(mask: Bools) -> tuple[Floats, Floats]:
    """Return the depth below the outline, 1 at its deepest, and the centre of the inscribed circle."""
    closed = mask.copy()
    closed[:, [0, -1]] = False
    closed[:, :, [0, -1]] = False  # so that no plane sees the next one
    n, side = mask.shape[:2]
    depth = ndimage.distance_transform_edt(closed.reshape(n * side, side)).reshape(mask.shape)
    depth /= np.maximum(depth.max(axis=(1, 2)), 1e-9)[:, None, None]
    return depth, centroids(depth * (depth > 0.97))


def hull_areas(mask: Bools) -> Floats:
    """Return the number of pixels ``(n,)`` in the convex hull of each mask; pixels are diamonds.

    A pixel counts as its four corners half a pixel above, below, left and right, as in
    `skimage.morphology.convex_hull_image`. The hull is walked along for all masks at once.
    """
    n, side = mask.shape[:2]
    columns = np.arange(side)
    edges = []
    for sign in (1, -1):  # the right edge, then the left one as that of the mirrored mask
        last = np.where(mask, sign * columns, -np.inf).max(axis=2, initial=-np.inf)
        between = np.full((n, 1), -np.inf)
        upper, lower = np.hstack([between, last]), np.hstack([last, between])
        points = np.empty((n, 2 * side + 1))
        points[:, ::2], points[:, 1::2] = np.maximum(upper, lower), last + 0.5
        edges.append(_envelope(points)[:, 1::2])
    right, left = edges
    width = np.floor(right + _ON_EDGE) - np.ceil(-left - _ON_EDGE) + 1
    return np.asarray(np.where(np.isfinite(right), width, 0).sum(axis=1), dtype=np.float64)


def _envelope(points: Floats) -> Floats:
    """Return the least concave function ``(n, m)`` above points ``(n, m)``, of which -inf are none."""
    n, m = points.shape
    at, rows, level = np.arange(m), np.arange(n), np.full(points.shape, -np.inf)
    known = np.isfinite(points)
    here, last = known.argmax(axis=1), m - 1 - known[:, ::-1].argmax(axis=1)
    rows = rows[known.any(axis=1)]
    while len(rows):
        start = here[rows]
        height, run = points[rows, start], np.maximum(at - start[:, None], 1)
        slope = np.where(at > start[:, None], (points[rows] - height[:, None]) / run, -np.inf)
        steepest = slope.max(axis=1)
        following = m - 1 - (slope >= steepest[:, None])[:, ::-1].argmax(axis=1)
        following = np.where(np.isfinite(steepest), following, start)
        line = height[:, None] + np.where(np.isfinite(steepest), steepest, 0)[:, None] * (at - start[:, None])
        passed = (at >= start[:, None]) & (at <= following[:, None])
        level[rows] = np.where(passed, line, level[rows])
        here[rows] = following
        rows = rows[(following < last[rows])]
    return level
