"""Draw a seeded, made-up smear of which every cell, its outline and its type are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from skimage.filters import gaussian

from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.settings import Settings
from napari_amil.core.base.types import Cells, Floats, Image
from napari_amil.core.cohort.cell_shapes import ANGLES, CELL_TYPES, CellShape, make_shape

CELL_DENSITY = np.array([0.27, 0.60, 0.38])
"""Optical density of the rim of a normal cell in red, green and blue."""
_PLATELET_DENSITY = np.array([0.75, 1.15, 0.45])
_OVERLAP_DENSITY = 0.75  # share of its density that a cell adds where it lies on another
_EDGE_PX = 1.3  # over which the outline fades, before the blur of the microscope
_BEYOND = 0.3  # how far a centre may lie outside the field, in radii: at least a third of a cell is seen
_TRIES = 100  # places tried for one cell before the field counts as full


class SynthSettings(Settings):
    """Settings of a synthetic smear."""

    height: int = Field(480, ge=64, le=4096)
    """Height of the field in pixels."""
    width: int = Field(640, ge=64, le=4096)
    """Width of the field in pixels."""
    diameter_px: float = Field(40.0, ge=12, le=200)
    """Diameter of a normal red cell in pixels."""
    n_cells: int = Field(95, ge=0, le=5000)
    """Wanted number of cells; a full field holds fewer."""
    abnormal: dict[str, float] = {  # noqa: RUF012 - pydantic copies defaults
        **dict.fromkeys(("elliptocyte", "spherocyte", "teardrop", "target"), 0.035),
        **dict.fromkeys(("schistocyte", "burr", "stomatocyte", "microcyte", "hypochromia"), 0.03),
    }
    """Share of the cells of each abnormal type; the rest is normal."""
    overlapping: float = Field(0.12, ge=0, le=0.9)
    """Share of the cells that are laid onto the edge of another cell."""
    faint: float = Field(0.05, ge=0, le=1)
    """Share of the cells that are stained less than half as strongly."""
    n_platelets: int = Field(9, ge=0, le=500)
    """Number of platelets; they are no cells of the truth."""
    stain: float = Field(1.0, ge=0.2, le=2.5)
    """Strength of the stain; 1 is usual."""
    stain_variation: float = Field(0.12, ge=0, le=0.5)
    """Spread of stain, light and background colour between smears of different seeds."""
    blur_px: float = Field(0.8, ge=0, le=5)
    """Standard deviation of the microscope's blur in pixels."""
    noise: float = Field(1.6, ge=0, le=30)
    """Standard deviation of the camera's noise in grey levels of 255."""


@dataclass(frozen=True, eq=False)
class SyntheticSmear:
    """A made-up field and its truth, row for row.

    Parameters
    ----------
    image
        ``(height, width, 3)`` uint8, RGB.
    cells
        Every cell with its true outline.
    cell_type
        ``(n_cells,)`` names, of `CELL_TYPES`.
    faint
        ``(n_cells,)`` whether the cell is weakly stained.
    """

    image: Image
    cells: Cells
    cell_type: NDArray[np.str_]
    faint: NDArray[np.bool_]


@dataclass(frozen=True)
class _Placed:
    """One cell in the field, and the pixels that it covers."""

    shape: CellShape
    cell_type: str
    centre: Floats
    turn: float
    faint: bool


def synthetic_smear(seed: int | Sequence[int], settings: SynthSettings | None = None) -> SyntheticSmear:
    """Return a made-up smear; the same seed and settings give the same smear.

    Light is absorbed by thickness (Beer-Lambert): a cell shows its rim and its central pallor, and two
    cells that lie on each other are darker where they overlap.

    Raises
    ------
    SettingsError
        If an abnormal type is unknown, or the shares add up to more than 1.
    """
    settings = settings or SynthSettings()
    rng = np.random.default_rng(seed)
    placed = _place(settings, rng)
    density = np.zeros((settings.height, settings.width, 3))
    count = np.zeros((settings.height, settings.width), dtype=np.int16)
    masks = [_draw(cell, settings, density, count) for cell in placed]
    _draw_platelets(settings, rng, density)
    image = _photograph(density, settings, rng)
    shared = np.array([bool((count[window][mask] > 1).any()) for window, mask in masks], dtype=bool)
    return SyntheticSmear(
        image,
        _truth(placed, masks, shared, settings),
        np.array([cell.cell_type for cell in placed], dtype=np.str_),
        np.array([cell.faint for cell in placed], dtype=bool),
    )


def _draw_types(settings: SynthSettings, rng: np.random.Generator) -> list[str]:
    """Return the types of all cells, in random order."""
    unknown = set(settings.abnormal) - set(CELL_TYPES)
    shares = np.array(list(settings.abnormal.values()), dtype=float)
    if unknown:
        raise SettingsError(f"There is no cell type '{min(unknown)}'; choose from {', '.join(CELL_TYPES)}.")
    if (shares < 0).any() or shares.sum() > 1 + 1e-9:
        raise SettingsError(
            f"The shares of abnormal cells add up to {shares.sum():.2f}; keep them within 0 and 1."
        )
    names = [*settings.abnormal, "normal"]
    weights = np.append(shares, max(0.0, 1 - shares.sum()))
    return [names[i] for i in rng.choice(len(names), settings.n_cells, p=weights / weights.sum())]


def _place(settings: SynthSettings, rng: np.random.Generator) -> list[_Placed]:
    """Return cells that keep apart, but for those that are meant to overlap."""
    unit = settings.diameter_px / 2
    low, high = -_BEYOND * unit, np.array([settings.height, settings.width]) + _BEYOND * unit
    placed: list[_Placed] = []
    for cell_type in _draw_types(settings, rng):
        shape, turn = make_shape(cell_type, rng), rng.uniform(0, 2 * np.pi)
        faint = bool(rng.random() < settings.faint)
        centre = _free_place(placed, shape, (low, high), rng, bool(rng.random() < settings.overlapping), unit)
        if centre is not None:
            placed.append(_Placed(shape, cell_type, centre, turn, faint))
    return placed


def _free_place(
    placed: list[_Placed],
    shape: CellShape,
    limits: tuple[float, Floats],
    rng: np.random.Generator,
    overlapping: bool,
    unit: float,
) -> Floats | None:
    """Return a place for a cell, or None when the field is full."""
    reach = _reach(shape) * unit
    centres = np.array([cell.centre for cell in placed]).reshape(-1, 2)
    reaches = np.array([_reach(cell.shape) * unit for cell in placed])
    for _ in range(_TRIES):
        if overlapping and len(placed):
            partner = rng.integers(len(placed))
            angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.85)
            shift = np.array([np.sin(angle), np.cos(angle)]) * share * (reach + reaches[partner])
            centre = centres[partner] + shift
            others = np.arange(len(placed)) != partner
        else:
            centre = rng.uniform(limits[0], limits[1])
            others = np.ones(len(placed), dtype=bool)
        inside = (centre > limits[0]).all() and (centre < limits[1]).all()
        gaps = np.hypot(*(centres - centre).T) - reaches - reach
        if inside and (gaps[others] > 0.04 * unit).all():
            return np.asarray(centre)
    return None


def _reach(shape: CellShape) -> float:
    """Return the distance within which a cell keeps others off, in units of a normal radius."""
    return float(np.percentile(shape.radius, 92))


def _draw(
    cell: _Placed, settings: SynthSettings, density: Floats, count: NDArray[np.int16]
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Lay one cell into the field; return its window and which pixels of it the cell covers."""
    unit = settings.diameter_px / 2
    reach = cell.shape.radius.max() * unit + 2
    start = np.maximum(np.floor(cell.centre - reach), 0).astype(int)
    stop = np.minimum(np.ceil(cell.centre + reach), count.shape).astype(int)
    window = (slice(start[0], stop[0]), slice(start[1], stop[1]))
    y, x = (np.mgrid[window].astype(float) + 0.5 - cell.centre[:, None, None]) / unit
    cosine, sine = np.cos(cell.turn), np.sin(cell.turn)
    thickness, relative = cell.shape.thickness(cosine * y - sine * x, cosine * x + sine * y)
    outline_px = np.hypot(y, x) / np.maximum(relative, 1e-6) * unit
    inside = np.clip((1 - relative) * outline_px / _EDGE_PX + 0.5, 0, 1)
    mask = relative < 1
    laid_on = np.where(count[window] > 0, _OVERLAP_DENSITY, 1.0)
    strength = 0.42 if cell.faint else 1.0
    density[window] += (thickness * inside * laid_on * strength)[..., None] * CELL_DENSITY
    count[window] += mask
    return window, mask


def _draw_platelets(settings: SynthSettings, rng: np.random.Generator, density: Floats) -> None:
    """Lay small purple grains into the field."""
    unit = settings.diameter_px / 2
    y, x = np.mgrid[: settings.height, : settings.width] + 0.5
    for _ in range(settings.n_platelets):
        centre = rng.uniform(0, [settings.height, settings.width])
        for _ in range(int(rng.integers(3, 7))):
            cy, cx = centre + rng.normal(0, 0.09 * unit, 2)
            width = rng.uniform(0.07, 0.14) * unit
            near = (
                slice(max(int(cy - 5 * width), 0), int(cy + 5 * width) + 1),
                slice(max(int(cx - 5 * width), 0), int(cx + 5 * width) + 1),
            )
            squares = (y[near] - cy) ** 2 + (x[near] - cx) ** 2
            density[near] += (0.45 * np.exp(-squares / (2 * width**2)))[..., None] * _PLATELET_DENSITY


def _photograph(density: Floats, settings: SynthSettings, rng: np.random.Generator) -> Image:
    """Return the field as a camera behind a microscope shows it."""
    spread = settings.stain_variation
    stain = settings.stain * np.exp(rng.normal(0, spread)) * np.exp(rng.normal(0, 0.3 * spread, 3))
    light = np.array([226.0, 225.0, 222.0]) * np.exp(rng.normal(-0.3 * spread, 0.4 * spread))
    light = np.minimum(light * np.exp(rng.normal(0, 0.18 * spread, 3)), 250.0)
    transmitted = gaussian(np.exp(-density * stain), settings.blur_px, channel_axis=-1)
    image = transmitted * light * _illumination(settings, rng)[..., None]
    grain = rng.normal(0, settings.noise, image.shape) + rng.normal(
        0, 0.5 * settings.noise, (*image.shape[:2], 1)
    )
    image += gaussian(grain, 0.5, channel_axis=-1) * 1.6
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _illumination(settings: SynthSettings, rng: np.random.Generator) -> Floats:
    """Return light that falls off towards the corners and leans to one side."""
    y, x = np.mgrid[-1 : 1 : settings.height * 1j, -1 : 1 : settings.width * 1j]
    lean = rng.normal(0, 0.035, 2)
    falloff = rng.uniform(0.02, 0.09)
    field = 1 + lean[0] * y + lean[1] * x - falloff * (y**2 + x**2) / 2
    return np.asarray(field)


def _truth(
    placed: list[_Placed],
    masks: list[tuple[tuple[slice, slice], NDArray[np.bool_]]],
    shared: NDArray[np.bool_],
    settings: SynthSettings,
) -> Cells:
    """Return the cells that were drawn, with the part of each outline that lies inside the field."""
    size = np.array([settings.height, settings.width], dtype=float)
    full = [_outline(cell, settings.diameter_px / 2) for cell in placed]
    outlines = [np.clip(outline, 0, size).astype(np.float32) for outline in full]
    boxes = [np.concatenate([outline.min(axis=0), outline.max(axis=0)]) for outline in outlines]
    return Cells(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        tuple(outlines),
        area_px=np.array([mask.sum() for _, mask in masks], dtype=np.float32),
        touches_border=np.array([(o < 0).any() or (o > size).any() for o in full], dtype=bool),
        overlaps=shared,
    )


def _outline(cell: _Placed, unit: float) -> Floats:
    """Return the outline ``(N_POINTS, 2)`` of a placed cell in pixels; pixel ``i`` ends at ``i + 1``."""
    angles = ANGLES + cell.turn
    along = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.asarray(cell.centre + along * cell.shape.radius[:, None] * unit)
