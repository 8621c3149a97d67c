"""Named measurements of cells: size, shape, pallor and stain, free of magnification and stain strength."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.base.types import Cells, Floats
from napari_amil.core.images.foreground import network_scale
from napari_amil.core.morphology.geometry import (
    N_ANGLES,
    area_of,
    aspect_ratio,
    centroids,
    compactness,
    depths,
    ellipse_radii,
    hull_areas,
    hull_perimeter,
    mean_of,
    outline_points,
    percentile_of,
    perimeter,
    radii,
    skewness,
)
from napari_amil.core.morphology.masks import STEP, CellGrid, cell_grid
from napari_amil.core.morphology.stacks import Bools, eroded

NAMES = (
    "diameter",
    "diameter_px",
    "aspect_ratio",
    "solidity",
    "convexity",
    "form_factor",
    "roughness",
    "spicules",
    "angularity",
    "tail",
    "skew",
    "pallor_area",
    "pallor_depth",
    "pallor_elongation",
    "pallor_sharpness",
    "slit",
    "target",
    "density",
    "density_total",
    "density_variation",
    "density_shift",
    "blueness",
)
"""Names of the measurements, in the order of their columns; `measure` says what they are."""
OF_PARTS = frozenset({"density", "density_variation", "blueness"})
"""Measurements that make sense where the border of the field cuts the cell."""

_CELLS_AT_ONCE = 256  # bounds the memory
_LEAST_PIXELS = 12  # of the grid; what is smaller is no cell that can be measured
_FINE = slice(6, 24)  # harmonics of the outline that are roughness, and no longer shape
_COARSE = slice(3, 6)  # harmonics of triangles, squares and pentagons
_SPICULE = 0.025  # relative radii by which a spicule stands out
_RINGS = np.arange(0.1, 1.0, 0.1)  # where rings of equal depth begin
_EDGE = 0.25  # what is less deep is pale because it is thin, and is no pallor
_CENTRE = 0.62  # what is deeper is the centre
_HEART = 0.85  # what is deeper is the middle of a target
_PALE = 0.75  # share of the density of the rim below which a pixel is pale


def is_empty(measurements: NDArray[Any]) -> Bools:
    """Return for which rows ``(n_cells,)`` of measurements no whole cell was seen in the box."""
    return np.isnan(measurements).all(axis=1)


def measure(normalised: NDArray[np.float32], cells: Cells, diameter_px: float) -> Floats:
    r"""Return the measurements ``(n_cells, n_measurements)`` of the cells of a field, as `NAMES`.

    Lengths are in typical diameters of the field where nothing else is said, densities are the optical
    density ``-ln I`` of the normalised field, mean of red, green and blue. Depth is the distance from
    the outline, 1 at the centre of the largest inscribed circle; the rim is the densest of the rings of
    depth 0.1 to 0.6. The outline is sampled on 96 rays from the centroid; its radius over that of the
    ellipse with the same second moments is ``1 + sum_k c_k exp(ik phi)``, so that a smooth ellipse,
    however long, has neither roughness nor corners.

    ==================== ==========================================================================
    diameter             diameter of a disc of the same area
    diameter_px          the same in pixels at the scale of the networks, where a typical cell has
                         about 40: pixels of the image, unless its magnification is another
    aspect_ratio         long over short axis of the ellipse with the same second moments
    solidity             area over area of the convex hull
    convexity            perimeter of the convex hull over perimeter
    form_factor          circularity, ``4 pi area / perimeter^2``
    roughness            standard deviation of this relative radius, harmonics 6 to 23
    spicules             number of peaks of the same that stand out by more than 0.025
    angularity           largest ``2 |c_k|``, k = 3 to 5: triangles, squares, pentagons
    tail                 distance between centroid and largest inscribed circle, in radii
    skew                 absolute skewness of the shape along its long axis
    pallor_area          share of the area that has less than 0.75 of the density of the rim
    pallor_depth         1 - density of the centre (depth above 0.62) / density of the rim
    pallor_elongation    aspect ratio of the pale region (below the half of rim and palest)
    pallor_sharpness     steepest slope of the density in the interior, in rims per typical diameter
    slit                 (1 - compactness) of the pale region, times pallor_depth where > 0: slits, triangles
    target               (density of the middle - palest ring around it) / density of the rim
    density              mean density
    density_total        density times diameter squared: how much stain the cell holds
    density_variation    standard deviation of the density over its mean
    density_shift        distance between the centroids of stain and shape, in radii
    blueness             ln(density in red / density in blue): polychromasia
    ==================== ==========================================================================

    Cells that the border of the field cuts have all but `OF_PARTS` NaN, a cell that others cover all
    but its shape, and a cell of which nothing is seen has NaN alone. What a cell shares with another
    outline, of these cells or of ``cells.others``, counts as if it had the mean density of the rest of
    the cell at the same depth.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.
    cells
        Boxes, or outlines where they are known.
    diameter_px
        Typical diameter of a cell in this field in pixels.
    """
    parts = [np.empty((0, len(NAMES)))]
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        grid = cell_grid(normalised, cells.among(slice(start, start + _CELLS_AT_ONCE)), diameter_px)
        values = np.empty((len(grid.mask), len(NAMES)))
        for rows, part in grid.by_size():
            values[rows] = _measured(part, diameter_px)
        parts.append(values)
    return np.concatenate(parts)


def _measured(grid: CellGrid, diameter_px: float) -> Floats:
    """Return the measurements of the cells of a grid."""
    stain = _stain(_uncovered(grid))
    unseen = np.isnan(stain["density"])
    values = _shape(grid) | {name: np.where(unseen, np.nan, column) for name, column in stain.items()}
    values["diameter_px"] = values["diameter"] * diameter_px * network_scale(diameter_px)
    values["density_total"] = values["density"] * values["diameter"] ** 2
    table = np.stack([values[name] for name in NAMES], axis=1)
    table[~np.isfinite(table)] = np.nan
    table[grid.mask.sum(axis=(1, 2)) < _LEAST_PIXELS] = np.nan
    needs_all = np.array([name not in OF_PARTS for name in NAMES])
    table[np.ix_(grid.cut, needs_all)] = np.nan
    return table


def _shape(grid: CellGrid) -> dict[str, Floats]:
    """Return the measures of size and outline."""
    area, radius = area_of(grid.soft), radii(grid.soft)
    points = outline_points(radius)
    length = np.maximum(perimeter(points), 1e-9)
    harmonics = np.fft.rfft(radius / np.maximum(ellipse_radii(grid.soft), 1e-9), axis=1) / N_ANGLES
    fine = np.zeros_like(harmonics)
    fine[:, _FINE] = harmonics[:, _FINE]
    ripple = np.fft.irfft(fine * N_ANGLES, n=N_ANGLES, axis=1)
    beside = np.maximum(np.roll(ripple, 1, axis=1), np.roll(ripple, -1, axis=1))
    return {
        "diameter": np.sqrt(4 / np.pi * area) * STEP,
        "aspect_ratio": aspect_ratio(grid.soft),
        "solidity": _solidity(grid.mask),
        "convexity": hull_perimeter(points) / length,
        "form_factor": 4 * np.pi * area / length**2,
        "roughness": ripple.std(axis=1),
        "spicules": (ripple > np.maximum(beside, _SPICULE)).sum(axis=1).astype(np.float64),
        "angularity": 2 * np.abs(harmonics[:, _COARSE]).max(axis=1),
        "skew": skewness(grid.soft),
    }


def _solidity(mask: Bools) -> Floats:
    """Return area over area of the convex hull ``(n_cells,)``; NaN for an empty mask."""
    hull = hull_areas(mask)
    return np.where(hull > 0, area_of(mask) / np.maximum(hull, 1), np.nan)


def _uncovered(grid: CellGrid) -> CellGrid:
    """Return the grid with the density of hidden pixels replaced by the mean of the others of that depth."""
    rows = np.flatnonzero(grid.hidden.any(axis=(1, 2)))
    mask, hidden = grid.mask[rows], grid.hidden[rows]
    seen, n_rings = mask & ~hidden, len(_RINGS) + 1
    ring = np.digitize(depths(mask)[0], _RINGS) + n_rings * np.arange(len(rows))[:, None, None]
    count = np.bincount(ring[seen], minlength=n_rings * len(rows))
    density = grid.density.copy()
    for channel in range(density.shape[1]):
        values = density[rows, channel]
        total = np.bincount(ring[seen], values[seen], minlength=len(count))
        anywhere = mean_of(values, seen).repeat(n_rings)  # where a ring is hidden all around
        values[hidden] = np.where(count > 0, total / np.maximum(count, 1), anywhere)[ring[hidden]]
        density[rows, channel] = values
    return replace(grid, density=density)


def _stain(grid: CellGrid) -> dict[str, Floats]:
    """Return the measures of density, and the centre of the largest inscribed circle."""
    depth, circle = depths(grid.mask)
    inside = eroded(grid.mask, 2)
    thin = area_of(inside) < _LEAST_PIXELS
    inside[thin] = grid.mask[thin]
    grey = ndimage.gaussian_filter(grid.grey, (0, 0.7, 0.7))
    radius = np.maximum(np.sqrt(area_of(grid.mask) / np.pi), 1e-9)
    density = mean_of(grey, inside)
    variance = mean_of(grey**2, inside) - density**2
    red, blue = (np.maximum(mean_of(grid.density[:, channel], inside), 1e-3) for channel in (0, 2))
    shift = centroids(grey * inside) - centroids(inside)
    return {
        **_pallor(grey, grid.mask, inside, depth),
        "tail": np.linalg.norm(centroids(grid.soft) - circle, axis=1) / radius,
        "density": density,
        "density_variation": np.sqrt(np.maximum(variance, 0)) / np.maximum(density, 1e-3),
        "density_shift": np.linalg.norm(shift, axis=1) / radius,
        "blueness": np.log(red / blue),
    }


def _pallor(grey: Floats, mask: Bools, inside: Bools, depth: Floats) -> dict[str, Floats]:
    """Return the profile of density from the outline to the centre, and the shape of the pallor."""
    rings = _ring_means(grey, mask, depth)
    rim = np.maximum(np.nan_to_num(rings[:, :5]).max(axis=1), 1e-3)
    around = np.nan_to_num(rings[:, 2:8], nan=np.inf).min(axis=1)
    inner = inside & (depth > _EDGE)
    palest = percentile_of(grey, inner, 3)
    half = np.minimum((rim + palest) / 2, 0.9 * rim)[:, None, None]
    hollow = np.asarray(inner & (grey < half), dtype=np.float64)
    slope = np.hypot(np.gradient(grey, axis=1), np.gradient(grey, axis=2))
    pale = inner & (grey < _PALE * rim[:, None, None])
    pallor_depth = 1 - mean_of(grey, mask & (depth > _CENTRE)) / rim
    return {
        "pallor_area": area_of(pale) / np.maximum(area_of(mask), 1),
        "pallor_depth": pallor_depth,
        "pallor_elongation": aspect_ratio(hollow),
        "pallor_sharpness": percentile_of(slope, inner, 97) / rim / STEP,
        "slit": (1 - compactness(hollow)) * np.maximum(pallor_depth, 0),
        "target": (mean_of(grey, mask & (depth > _HEART)) - around) / rim,
    }


def _ring_means(grey: Floats, mask: Bools, depth: Floats) -> Floats:
    """Return the mean density ``(n_cells, n_rings)`` of rings of equal depth; NaN where one is empty."""
    owner, values, deep = np.nonzero(mask)[0], grey[mask], depth[mask]
    means = np.full((len(mask), len(_RINGS)), np.nan)
    for column, least in enumerate(_RINGS):
        ring = (deep > least) & (deep <= least + 0.1)
        count = np.bincount(owner[ring], minlength=len(mask))
        total = np.bincount(owner[ring], values[ring], minlength=len(mask))
        means[:, column] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means
