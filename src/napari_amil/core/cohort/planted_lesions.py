"""Planted lesions: known changes of real control cells, with the pixels that each changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.base.types import Floats

Bools = NDArray[np.bool_]
_FEWEST_PIXELS = 60
"""Cells with a smaller mask get no lesion: there is nothing to change."""
_VISIBLE = 0.04
"""Least change of a channel, of 1, that counts as a changed pixel."""
_EDGE_PX = 0.8
"""Standard deviation of the blur of the edge of a lesion, in pixels of the crop."""


@dataclass(frozen=True, eq=False)
class Planted:
    """Cells after a lesion was planted.

    Parameters
    ----------
    pixels
        ``(n_cells, 4, size, size)`` uint8, as `napari_amil.core.anomaly.scorer.CellInputs.pixels`; the mask
        follows the new outline.
    lesion
        ``(n_cells, size, size)`` pixels that differ visibly from those before.
    planted
        ``(n_cells,)`` false for a cell that was too small; its pixels are as they were.
    """

    pixels: NDArray[np.uint8]
    lesion: Bools
    planted: Bools


@dataclass(frozen=True, eq=False)
class _Cell:
    """One cell: darkness ``(3, s, s)`` (1 - colour), mask, depth and where the pixels are.

    The depth is 0 at the outline, 1 at the innermost pixel, negative outside; ``radius_px`` is that of a
    disc of the same area.
    """

    darkness: Floats
    mask: Bools
    depth: Floats
    offset: Floats
    radius_px: float

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.uint8]) -> _Cell:
        mask = pixels[3] > 0
        inside = ndimage.distance_transform_edt(mask)
        outside = ndimage.distance_transform_edt(~mask)
        center = np.array(ndimage.center_of_mass(mask))
        grid = np.stack(np.meshgrid(*[np.arange(len(mask))] * 2, indexing="ij")).astype(np.float64)
        depth = np.where(mask, inside / inside.max(), -outside / inside.max())
        radius = float(np.sqrt(mask.sum() / np.pi))
        return cls(1.0 - pixels[:3] / 255.0, mask, depth, grid - center[:, None, None], radius)

    def disc(self, center: Floats, radius_px: float) -> Bools:
        """Return the pixels of a disc around a point, relative to the centre of the cell."""
        return np.asarray(np.hypot(*(self.offset - center[:, None, None])) < radius_px)

    def colour(self, where: Bools) -> Floats:
        """Return the median darkness ``(3, 1, 1)`` of some pixels; of the whole cell where there are none."""
        chosen = where if where.any() else self.mask
        return np.asarray(np.median(self.darkness[:, chosen], axis=1))[:, None, None]

    def blended(self, where: Bools, darkness: Floats) -> Floats:
        """Return the darkness with another one at some pixels, with a soft edge."""
        share = np.clip(2 * ndimage.gaussian_filter(where.astype(np.float64), _EDGE_PX), 0, 1) * where
        return self.darkness + share * (darkness - self.darkness)

    def point(self, rng: np.random.Generator, low: float, high: float) -> Floats:
        """Return a random pixel inside, of a depth in a range or nearest to it, relative to the centre."""
        beyond = np.maximum(low - self.depth, self.depth - high).clip(0)
        rows = np.argwhere(self.mask & (beyond <= beyond[self.mask].min()))
        y, x = rows[rng.integers(len(rows))]
        return np.asarray(self.offset[:, y, x])


Lesion = Callable[[_Cell, np.random.Generator], tuple[Floats, Bools]]
"""Returns the new darkness ``(3, s, s)`` and the new mask."""


def _bite(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    gone = cell.disc(cell.point(rng, 0.0, 0.12), rng.uniform(0.4, 0.6) * cell.radius_px)
    return cell.blended(gone, np.zeros((3, 1, 1))), cell.mask & ~gone


def _inclusion(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    spot = cell.disc(cell.point(rng, 0.3, 0.9), rng.uniform(0.16, 0.24) * cell.radius_px) & cell.mask
    return cell.blended(spot, np.array([0.65, 0.8, 0.45])[:, None, None]), cell.mask


def _target(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    rim = cell.colour((cell.depth > 0.15) & (cell.depth < 0.45))
    ring = cell.blended((cell.depth > 0.35) & (cell.depth <= 0.75), 0.3 * rim)
    spotted = _Cell(ring, cell.mask, cell.depth, cell.offset, cell.radius_px)
    return spotted.blended(cell.depth > 0.75, rng.uniform(1.0, 1.15) * rim), cell.mask


def _filled(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    rim = cell.colour((cell.depth > 0.15) & (cell.depth < 0.45))
    return cell.blended(cell.depth > 0.3, rng.uniform(1.05, 1.2) * rim), cell.mask


def _widened(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    return cell.blended(cell.depth > 0.25, rng.uniform(0.1, 0.25) * cell.colour(cell.mask)), cell.mask


def _half_stain(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    return np.where(cell.mask, rng.uniform(0.45, 0.55) * cell.darkness, cell.darkness), cell.mask


def _spicules(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    spikes = np.zeros_like(cell.mask)
    angles = np.arctan2(*cell.offset)
    n_spikes = int(rng.integers(8, 13))
    turn = rng.uniform(0, 2 * np.pi)
    for angle in turn + 2 * np.pi * np.arange(n_spikes) / n_spikes:
        apart = np.abs((angles - angle + np.pi) % (2 * np.pi) - np.pi) * n_spikes / np.pi  # 0 at the tip
        spikes |= (cell.depth > -0.35 * (1 - 2 * apart)) & (apart < 0.5)
    grown = spikes & ~cell.mask
    return cell.blended(grown, cell.colour((cell.depth > 0) & (cell.depth < 0.4))), cell.mask | grown


def _stretched(cell: _Cell, rng: np.random.Generator) -> tuple[Floats, Bools]:
    angle, factor = rng.uniform(0, np.pi), rng.uniform(1.35, 1.55)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back = turn @ np.diag([1 / factor, factor]) @ turn.T  # from the new cell to the old one; the area stays
    center = -cell.offset[:, 0, 0]
    own = cell.darkness * (cell.depth > -0.3)  # neighbours stay where they are

    def moved(values: Floats, order: int) -> Floats:
        return np.asarray(ndimage.affine_transform(values, back, center - back @ center, order=order))

    darkness = np.stack([moved(channel, 1) for channel in own])
    kept = np.where(cell.depth > -0.3, 0.0, cell.darkness)
    return np.maximum(darkness, kept), moved(cell.mask.astype(np.float64), 0) > 0.5


LESIONS: dict[str, Lesion] = {
    "bite": _bite,
    "inclusion": _inclusion,
    "target spot": _target,
    "pallor filled": _filled,
    "pallor widened": _widened,
    "half stain": _half_stain,
    "spicules": _spicules,
    "stretched": _stretched,
}
"""Every lesion by name. Sizes are shares of the radius or of the depth of the cell, so of any cell alike."""


def plant_lesions(pixels: NDArray[np.uint8], name: str, seed: int = 0) -> Planted:
    """Return control cells with one kind of lesion in each.

    Parameters
    ----------
    pixels
        ``(n_cells, 4, size, size)`` uint8: colours of the crop, white background, and the mask.
    name
        One of `LESIONS`.
    seed
        Seed of place, size and strength; a cell's own do not depend on the cells beside it.
    """
    found = pixels.copy()
    lesion = np.zeros(pixels[:, 0].shape, dtype=bool)
    planted = (pixels[:, 3] > 0).sum(axis=(1, 2)) >= _FEWEST_PIXELS
    for row in np.flatnonzero(planted):
        cell = _Cell.from_pixels(pixels[row])
        darkness, mask = LESIONS[name](cell, np.random.default_rng([seed, int(row)]))
        found[row, :3] = np.clip(255 * (1.0 - darkness), 0, 255).round()
        found[row, 3] = 255 * mask
        change = np.abs(found[row, :3].astype(np.int64) - pixels[row, :3]).max(axis=0)
        lesion[row] = change > 255 * _VISIBLE
    return Planted(found, lesion, planted & lesion.any(axis=(1, 2)))
