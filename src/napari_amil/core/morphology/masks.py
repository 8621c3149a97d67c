"""Masks of cells: each cell on a small grid at one scale, separated from its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from napari_amil.core.base.settings import CropSettings
from napari_amil.core.base.types import Cells, Floats, has_outline, is_box
from napari_amil.core.images.crops import extract_crops
from napari_amil.core.images.foreign import crossed
from napari_amil.core.images.rasters import polygon_pixels
from napari_amil.core.morphology.stacks import IN_PLANE, Bools, closed, dilated, eroded, filled, opened

GRID = CropSettings(size_px=96, field=2.4, outside_margin=None)
"""Window of a cell: 2.4 typical diameters, 40 grid pixels per diameter."""
STEP = GRID.field / GRID.size_px
"""Typical diameters per grid pixel."""
_BOX_MARGIN = 0.07  # typical diameters by which a cell may pass beyond a box or an outline
_EDGE_LEVEL = 0.42  # share of the density of the rim at which a cell ends
_LOWEST_EDGE = 0.05  # optical density; paler than this is background
_SMALL_GAP = 0.25  # square typical diameters; the pallor of a neighbour, not a space between cells
_CORE = 0.62  # share of the largest depth: what is deeper is the core of one cell, not a neck
_LEAST_AGREEMENT = 0.6  # intersection over union; below it the given outline is believed, not the pixels
_LEAST_FILLED = 0.15  # share of the ellipse in a box; a box of which less is filled holds no cell
_BETTER_FILLED = 0.35  # the same where what reaches in does not cover the middle
_LEAST_HIDDEN = 0.03  # share of an outline under other cells from which on these blur where the cell ends
_LEFT_PX = 5.5  # pixels around a cell that filters of the density reach, with one to spare
_SIZE_STEP = 6  # pixels between the half sides of cut grids
_PAIRS_AT_ONCE = 512  # bounds the memory of neighbours
_SAME_CELL = 0.7  # intersection over union from which on two outlines are one cell


@dataclass(frozen=True, eq=False)
class CellGrid:
    """The cells of one field on their grids.

    Parameters
    ----------
    density
        ``(n_cells, 3, g, g)`` optical density ``-ln I`` of the normalised field; background 0.
    mask
        ``(n_cells, g, g)`` the pixels of the cell, holes filled.
    soft
        ``(n_cells, g, g)`` in 0 to 1: the same with an edge finer than a pixel.
    hidden
        ``(n_cells, g, g)`` the pixels of the cell that it shares with others; their density is of both.
    cut
        ``(n_cells,)`` whether the border of the field cuts the cell.
    """

    density: Floats
    mask: Bools
    soft: Floats
    hidden: Bools
    cut: Bools

    def by_size(self) -> Iterator[tuple[NDArray[np.int64], CellGrid]]:
        """Yield the rows of cells of like size, and these cells on the middle of their grids alone.

        Around each cell some pixels are left. The side of the part depends on the cell, on no other.
        """
        side = self.mask.shape[1]
        seen = self.mask | (self.soft > 0)
        from_middle = np.abs(np.arange(side) + 0.5 - side / 2)
        reach = np.maximum(*(np.where(seen.any(axis=axis), from_middle, 0).max(axis=1) for axis in (1, 2)))
        half = np.minimum(np.ceil((reach + _LEFT_PX) / _SIZE_STEP) * _SIZE_STEP, side / 2).astype(np.int64)
        for size in np.unique(half):
            rows, middle = np.flatnonzero(half == size), slice(side // 2 - size, side // 2 + size)
            yield rows, self._part(rows, (..., middle, middle))

    def _part(self, rows: NDArray[np.int64], window: tuple[Any, ...]) -> CellGrid:
        """Return some cells on a part of their grids."""
        mask, soft, hidden = (values[window][rows] for values in (self.mask, self.soft, self.hidden))
        density = self.density[window][rows].astype(np.float64)
        return CellGrid(density, mask, soft, hidden, self.cut[rows])

    @property
    def grey(self) -> Floats:
        """Mean of the density over red, green and blue, ``(n_cells, g, g)``."""
        mean: Floats = self.density.mean(axis=1, dtype=np.float64)
        return mean


def cell_grid(normalised: NDArray[np.float32], cells: Cells, diameter_px: float) -> CellGrid:
    """Return every cell on its grid with the pixels that belong to it.

    A cell ends where the density falls to a share of that of its own rim, so that a pale cell has the
    same size as a dark one. What lies outside its box or outline, or behind a neck narrower than
    0.62 of the cell, is a neighbour. An outline that the pixels contradict is believed, and so is one that
    shares pixels with another. A mere box has no
    pixels if it holds no cell, only the edge of a neighbour, or one that a pointer or a printed line crosses.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.
    cells
        Boxes, or outlines where they are known.
    diameter_px
        Typical diameter of a cell in this field in pixels.
    """
    crops = extract_crops(normalised, cells.boxes, diameter_px, GRID)
    density: Floats = -np.log(np.maximum(crops, 0.02))
    support, given = _support(cells, diameter_px)
    grey = ndimage.gaussian_filter(density.mean(axis=1, dtype=np.float64), (0, 0.8, 0.8))
    level = _edge_level(grey, given)
    stuff = _without_pallor(grey > level[:, None, None], given)
    own = _own_part(stuff, given, support)
    near = _window(support | given)
    own[near] = _largest_part(opened(filled(own[near])), given[near])
    own[near] = _trust_outlines(own[near], cells, given[near])
    hidden = _hidden(cells, given, diameter_px)
    covered = hidden.any(axis=(1, 2))
    own[covered] = given[covered]
    boxed = ~has_outline(cells)
    own[boxed] &= _holds_cell(own[boxed], given[boxed], support[boxed], crops[boxed])[:, None, None]
    soft = np.zeros_like(grey)
    soft[near] = _soft_edge(own[near], grey[near], level)
    soft[covered] = ndimage.gaussian_filter(own[covered].astype(np.float64), (0, 1, 1))
    shape = normalised.shape[:2]
    cut = cells.touches_border | (cells.boxes[:, :2] < 1).any(axis=1)
    cut = cut | (cells.boxes[:, 2] > shape[0] - 1) | (cells.boxes[:, 3] > shape[1] - 1)
    return CellGrid(density, own, soft, hidden, cut)


def _window(masks: Bools) -> tuple[slice, ...]:
    """Return the part of the grids outside which, and beside whose border, no mask has a pixel."""
    y, x = (np.flatnonzero(masks.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not len(y):
        return ()
    return (slice(None), *(slice(max(at[0] - 2, 0), at[-1] + 3) for at in (y, x)))


def on_grid(points: NDArray[np.float32], box: NDArray[np.float32], diameter_px: float) -> Floats:
    """Return points ``(n_points, 2)`` of the field, y and x in pixels, on the grid of the cell of ``box``."""
    centre = (box[:2] + box[2:]) / 2.0
    return np.asarray((points - centre) / (diameter_px * STEP) + GRID.size_px / 2.0, dtype=np.float64)


def _support(cells: Cells, diameter_px: float) -> tuple[Bools, Bools]:
    """Return the largest region of each cell and its expected mask, ``(n_cells, g, g)`` each."""
    side = GRID.size_px
    known = has_outline(cells)
    given = np.zeros((len(cells), side, side), dtype=bool)
    support = np.zeros_like(given)
    middle = np.arange(side) + 0.5 - side / 2
    half = (cells.boxes[:, 2:] - cells.boxes[:, :2]) / (2 * diameter_px * STEP)
    y, x = (middle[None, :, None], middle[None, None, :])
    hy, hx = half[:, 0, None, None], half[:, 1, None, None]
    boxed = np.flatnonzero(~known)
    given[boxed] = (y / hy[boxed]) ** 2 + (x / hx[boxed]) ** 2 <= 1
    margin = _BOX_MARGIN / STEP
    support[:] = (abs(y) <= hy + margin) & (abs(x) <= hx + margin)
    rows = np.flatnonzero(known)
    given[rows] = _drawn([cells.outlines[row] for row in rows], cells.boxes[rows], diameter_px)
    given[:, side // 2, side // 2] |= ~given.any(axis=(1, 2))
    if known.any():
        steps = max(round(margin), 1)
        support[known] &= dilated(given[known], steps)
    return support, given


def _drawn(outlines: Sequence[NDArray[np.float32]], boxes: NDArray[np.float32], diameter_px: float) -> Bools:
    """Return the pixels ``(n, g, g)`` of outlines of the field, each on the grid of the cell of its box."""
    masks = np.zeros((len(boxes), GRID.size_px, GRID.size_px), dtype=bool)
    placed = [on_grid(o, box, diameter_px) - 0.5 for o, box in zip(outlines, boxes, strict=True)]
    pixels = polygon_pixels(placed).within(masks.shape[1:])
    masks[pixels.owner, pixels.y, pixels.x] = True
    return masks


def _hidden(cells: Cells, given: Bools, diameter_px: float) -> Bools:
    """Return a mask ``(n_cells, g, g)`` of each outline's pixels in other outlines too, if enough are."""
    bounded = ((o, np.concatenate([o.min(axis=0), o.max(axis=0)])) for o in (*cells.outlines, *cells.others))
    others = [outline for outline, bounds in bounded if not is_box(outline, bounds)]
    hidden = np.zeros_like(given)
    if not others:
        return hidden
    low, high = (np.array([of(outline, axis=0) for outline in others]) for of in (np.min, np.max))
    pairs: list[tuple[int, int]] = []
    for row in np.flatnonzero(has_outline(cells)):
        box = cells.boxes[row]
        near = (low < box[2:]).all(axis=1) & (high > box[:2]).all(axis=1)
        pairs += [(int(row), int(n)) for n in np.flatnonzero(near) if others[n] is not cells.outlines[row]]
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        rows, numbers = np.array(pairs[start : start + _PAIRS_AT_ONCE]).T
        other = _drawn([others[n] for n in numbers], cells.boxes[rows], diameter_px)
        shared, either = other & given[rows], other | given[rows]
        parted = shared.sum(axis=(1, 2)) < _SAME_CELL * either.sum(axis=(1, 2))
        for row, pixels in zip(rows[parted], shared[parted], strict=True):
            hidden[row] |= pixels
    share = hidden.sum(axis=(1, 2)) / given.sum(axis=(1, 2))
    return np.asarray(hidden & (share > _LEAST_HIDDEN)[:, None, None], dtype=bool)


def _edge_level(grey: Floats, given: Bools) -> Floats:
    """Return the density ``(n_cells,)`` at which each cell ends."""
    rim = np.array([np.percentile(plane[pixels], 75) for plane, pixels in zip(grey, given, strict=True)])
    return np.maximum(_EDGE_LEVEL * rim, _LOWEST_EDGE)


def _without_pallor(stuff: Bools, given: Bools) -> Bools:
    """Return the foreground with the pallor of the cell itself filled, even where its rim is open."""
    for gap_px in (2, 5):
        joined = closed(stuff, gap_px) | stuff
        pallor = _gaps(joined, given, 0.9)
        stuff = stuff | (joined & dilated(pallor, gap_px + 1)) | pallor
    return np.asarray(stuff, dtype=bool)


def _gaps(stuff: Bools, given: Bools, least_inside: float) -> Bools:
    """Return the gaps of the foreground of which a share lies where the cell should lie."""
    gaps, n_gaps = ndimage.label(~stuff, IN_PLANE)
    total = np.bincount(gaps.ravel(), minlength=n_gaps + 1)
    inside = np.bincount(gaps[given], minlength=n_gaps + 1)
    pallor = inside > least_inside * total
    pallor[0] = False
    return np.asarray(pallor[gaps], dtype=bool)


def _own_part(stuff: Bools, given: Bools, support: Bools) -> Bools:
    """Return the part of the foreground within the support that is this cell, split at its necks."""
    gaps, n_gaps = ndimage.label(~stuff, IN_PLANE)
    small = np.bincount(gaps.ravel(), minlength=n_gaps + 1) < _SMALL_GAP / STEP**2
    small[0] = False
    whole, middle = (stuff | small[gaps])[:, ::2, ::2], given[:, ::2, ::2]
    foreign, found = _beyond_necks(whole, middle)
    lost = ~found
    if lost.any():  # one core with a neighbour: only the box can tell them apart
        foreign[lost], _ = _beyond_necks(whole[lost] & support[lost][:, ::2, ::2], middle[lost])
    return np.asarray(stuff & support & ~foreign.repeat(2, axis=1).repeat(2, axis=2), dtype=bool)


def _beyond_necks(stuff: Bools, given: Bools) -> tuple[Bools, Bools]:
    """Return masks of other cells' pixels (watershed of the depth), and of the cells with a core."""
    half = stuff.copy()
    half[:, [0, -1]] = False
    half[:, :, [0, -1]] = False
    n, side = half.shape[:2]
    depth = ndimage.distance_transform_edt(half.reshape(n * side, side)).reshape(half.shape)
    depth = ndimage.gaussian_filter(depth, (0, 0.7, 0.7)) * half
    deepest = np.where(given, depth, 0).reshape(n, -1).max(axis=1)
    cores, n_cores = ndimage.label(depth > _CORE * deepest[:, None, None], IN_PLANE)
    flat = (n * side, side)
    basins = watershed(-depth.reshape(flat), cores.reshape(flat), mask=half.reshape(flat)).reshape(half.shape)
    inside = np.bincount(cores[given], minlength=n_cores + 1)
    own = inside > 0.5 * np.bincount(cores.ravel(), minlength=n_cores + 1)
    own[0] = False
    return (basins > 0) & ~own[basins], own[cores].any(axis=(1, 2))


def _largest_part(own: Bools, given: Bools) -> Bools:
    """Return the connected part of each mask that covers most of where the cell should lie."""
    parts, n_parts = ndimage.label(own, IN_PLANE)
    size = np.bincount(parts[given], minlength=n_parts + 1)
    size[0] = 0
    best = np.where(parts > 0, size[parts], 0)
    most = best.reshape(len(own), -1).max(axis=1, initial=0)
    return np.asarray((best == most[:, None, None]) & (best > 0), dtype=bool)


def _trust_outlines(own: Bools, cells: Cells, given: Bools) -> Bools:
    """Return the masks; where the pixels contradict an outline, the outline."""
    both = (own & given).sum(axis=(1, 2))
    wrong = has_outline(cells) & (both < _LEAST_AGREEMENT * (own | given).sum(axis=(1, 2)))
    return np.where(wrong[:, None, None], given, own)


def _holds_cell(own: Bools, given: Bools, support: Bools, crops: NDArray[np.float32]) -> Bools:
    """Return a mask of boxes with more than the edge of a neighbour, and no pointer or line across."""
    share = (own & given).sum(axis=(1, 2)) / given.sum(axis=(1, 2))
    middle = GRID.size_px // 2
    beside = ~own[:, middle - 3 : middle + 3, middle - 3 : middle + 3].any(axis=(1, 2))
    inner = eroded(support, 2)
    reaches_in = (own & ~inner).any(axis=(1, 2))
    empty = (share < _LEAST_FILLED) | ((share < _BETTER_FILLED) & beside & reaches_in)
    return np.asarray(~empty & ~crossed(np.moveaxis(crops, 1, -1), given, 1 / STEP))


def _soft_edge(own: Bools, grey: Floats, level: Floats) -> Floats:
    """Return the masks with a soft edge: one half where the density passes the level."""
    core, near = eroded(own, 2), dilated(own)
    fine = np.clip(grey / (2 * level[:, None, None]), 0, 1)
    return np.where(core, 1.0, np.where(near, fine, 0.0))
