"""The outlines and thickness profiles of made-up red cells, one rule per named type."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from napari_amil.core.base.types import Floats

N_POINTS = 128
"""Points of an outline, at equal angles around the centre."""
ANGLES = np.linspace(-np.pi, np.pi, N_POINTS, endpoint=False)


@dataclass(frozen=True)
class CellShape:
    """One cell: its outline around its centre and how thick it is inside.

    Parameters
    ----------
    radius
        ``(N_POINTS,)`` distance of the outline from the centre at `ANGLES`, in units of the radius
        of a normal cell. Every outline can be seen from the centre.
    pallor
        Share of the thickness that is missing in the middle.
    pallor_size, pallor_ratio
        Half length of the pale part in units of the outline; its length divided by its width.
    core
        Thickness that stands in the middle of the pale part (target cells).
    density
        Thickness of the rim; 1 is a normal cell.
    """

    radius: Floats
    pallor: float = 0.45
    pallor_size: float = 0.5
    pallor_ratio: float = 1.0
    core: float = 0.0
    density: float = 1.0

    def thickness(self, y: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Return thickness, and distance from the centre relative to the outline (1 on the outline).

        ``y`` and ``x`` are offsets from the centre along the cell's own axes, in units of a normal radius.
        """
        distance = np.hypot(y, x)
        outline = np.interp(np.arctan2(y, x), ANGLES, self.radius, period=2 * np.pi)
        relative = distance / outline
        u, v = x / outline, y / outline * self.pallor_ratio
        pale = np.exp(-((np.hypot(u, v) / self.pallor_size) ** 3))
        middle = np.exp(-((relative / 0.3) ** 2))
        rim = 1.0 + 0.2 * np.clip(relative, 0, 1) ** 4
        return self.density * (rim * (1 - self.pallor * pale) + self.core * middle), relative


def make_shape(cell_type: str, rng: np.random.Generator) -> CellShape:
    """Return a random cell of one of `CELL_TYPES`."""
    body = _body(rng)
    pallor = CellShape(body, pallor=rng.uniform(0.42, 0.64), pallor_size=rng.uniform(0.44, 0.62))
    return _RULES[cell_type](pallor, rng)


def _body(rng: np.random.Generator) -> Floats:
    """Return the outline of a nearly round cell of a random size."""
    ellipse = _ellipse(rng.uniform(1.0, 1.14))
    wobble = sum(
        rng.normal(0, 0.022 / order) * np.cos(order * ANGLES + rng.uniform(0, 6.3)) for order in (2, 3, 4, 5)
    )
    return np.asarray(ellipse * (1 + wobble) * rng.normal(1.0, 0.045))


def _ellipse(ratio: float) -> Floats:
    """Return the outline of an ellipse of area pi whose long side lies along x."""
    long, short = np.sqrt(ratio), 1 / np.sqrt(ratio)
    return np.asarray(1 / np.hypot(np.cos(ANGLES) / long, np.sin(ANGLES) / short))


def _normal(cell: CellShape, rng: np.random.Generator) -> CellShape:
    return cell


def _elliptocyte(cell: CellShape, rng: np.random.Generator) -> CellShape:
    radius = _ellipse(rng.uniform(1.7, 2.5)) * cell.radius.mean()
    return replace(cell, radius=radius, pallor=rng.uniform(0.1, 0.4), pallor_size=0.45)


def _spherocyte(cell: CellShape, rng: np.random.Generator) -> CellShape:
    radius = np.full(N_POINTS, rng.uniform(0.72, 0.84)) * (cell.radius / cell.radius.mean()) ** 0.4
    return replace(cell, radius=radius, pallor=0.0, density=rng.uniform(1.25, 1.45))


def _teardrop(cell: CellShape, rng: np.random.Generator) -> CellShape:
    width, length = rng.uniform(0.16, 0.26), rng.uniform(0.6, 1.0)
    tail = length * np.exp(-(np.abs(ANGLES / width) ** 1.3))
    shoulder = 0.16 * np.exp(-((ANGLES / 0.7) ** 2))
    return replace(cell, radius=cell.radius * 0.84 * (1 + tail + shoulder), pallor_size=0.4)


def _target(cell: CellShape, rng: np.random.Generator) -> CellShape:
    return replace(
        cell,
        radius=cell.radius * 1.05,
        pallor=rng.uniform(0.55, 0.7),
        pallor_size=0.62,
        core=rng.uniform(0.55, 0.75),
    )


def _schistocyte(cell: CellShape, rng: np.random.Generator) -> CellShape:
    turned = np.roll(ANGLES, int(rng.integers(N_POINTS)))
    cut = rng.uniform(0.1, 0.35) / np.maximum(np.cos(turned), 1e-3)
    second = rng.uniform(0.35, 0.8) / np.maximum(np.cos(turned - rng.uniform(1.4, 2.2)), 1e-3)
    cornered = np.minimum(cell.radius, np.minimum(cut, second)) * rng.uniform(0.85, 1.0)
    radius = gaussian_filter1d(cornered, 2.0, mode="wrap")
    return replace(cell, radius=radius, pallor=rng.uniform(0.0, 0.15), density=1.05)


def _burr(cell: CellShape, rng: np.random.Generator) -> CellShape:
    n_spikes = int(rng.integers(10, 16))
    bends = ANGLES + sum(rng.normal(0, 0.05) * np.sin(k * ANGLES + rng.uniform(0, 6.3)) for k in (1, 2, 3))
    spikes = np.maximum(np.cos(n_spikes * bends), -0.3) * rng.uniform(0.05, 0.08)
    radius = cell.radius * (0.93 + spikes)
    return replace(cell, radius=radius, pallor=rng.uniform(0.1, 0.35), density=1.1)


def _stomatocyte(cell: CellShape, rng: np.random.Generator) -> CellShape:
    return replace(
        cell,
        pallor=rng.uniform(0.5, 0.7),
        pallor_size=rng.uniform(0.5, 0.62),
        pallor_ratio=rng.uniform(2.4, 3.6),
    )


def _microcyte(cell: CellShape, rng: np.random.Generator) -> CellShape:
    return replace(cell, radius=cell.radius * rng.uniform(0.6, 0.72))


def _hypochromia(cell: CellShape, rng: np.random.Generator) -> CellShape:
    return replace(cell, pallor=rng.uniform(0.82, 0.94), pallor_size=rng.uniform(0.72, 0.82), density=0.8)


_RULES = {
    "normal": _normal,
    "elliptocyte": _elliptocyte,
    "spherocyte": _spherocyte,
    "teardrop": _teardrop,
    "target": _target,
    "schistocyte": _schistocyte,
    "burr": _burr,
    "stomatocyte": _stomatocyte,
    "microcyte": _microcyte,
    "hypochromia": _hypochromia,
}
CELL_TYPES = tuple(_RULES)
"""Names of the cell types that can be drawn; the first is the normal one."""
