"""Find the monolayer of a slide: squares in which cells lie apart, flat and in focus.

The slide is divided into squares. All are seen in an overview, which tells glass from smear; then squares
spread over the smear are looked at in detail, and further ones around those that are good.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.base.errors import ImageError
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.types import Floats, Image
from napari_amil.core.images.foreground import compact_objects, typical_diameter
from napari_amil.core.images.normalise import normalise
from napari_amil.core.images.refusals import MAX_PIXELS
from napari_amil.core.images.slide import Slide

CELL_UM = 7.5
"""Diameter of a normal red cell in micrometres."""
SIDE_CELLS = 20.0
"""Side of a square in cell diameters: a field of about 150 cells."""
OVERVIEW_PX = 8
"""Pixels of the overview along the side of a square."""
LOOK_PX = 20.0
"""Diameter in pixels at which cells are looked at."""
_TYPICAL_PX = 30.0  # diameter of a cell under an objective of 40 x, for squares of slides without a scale
_GLASS = 0.02  # least optical density of a square that holds cells
_ROUND = 240  # squares looked at in one go
_ROUNDS = 5
_APART = (0.15, 0.35)  # least share of lone cells in the area of all objects, and as a share of the best's
_COVERED = (0.06, 0.65)  # share of a square that cells cover
_SHARP = 0.55  # least sharpness, as a share of that of the sharpest squares
_DOMED = 0.5  # least central pallor, as a share of that of the squares with most
_NO_PALLOR = 0.06  # where not even these have this much, cells without pallor are the patient's
_BEST = 90  # percentile of squares that counts as the best
_MIN_CELLS = 12


@dataclass(frozen=True, eq=False)
class Monolayer:
    """The map of a slide.

    Parameters
    ----------
    squares
        One row per square that was looked at, the best first: ``y``, ``x`` of its corner and ``side`` in
        pixels of the slide, ``coverage``, ``apart``, ``pallor``, ``sharpness``, ``n_cells``, and whether it
        is ``monolayer``.
    diameter_px
        Diameter of a typical cell in pixels of the slide.
    overview
        Small picture, `OVERVIEW_PX` pixels a square.
    """

    squares: pd.DataFrame
    diameter_px: float
    overview: Image


def find_monolayer(
    slide: Slide, n_fields: int, diameter_px: float | None = None
) -> Generator[Event, None, Monolayer]:
    """Look for the monolayer of a slide until there are twice as many good squares as wanted.

    Parameters
    ----------
    slide
        The slide.
    n_fields
        Number of squares that are wanted.
    diameter_px
        Diameter of a typical cell in pixels; from the size of a pixel or estimated if not given.

    Raises
    ------
    ImageError
        If the slide is too small, has no pyramid, or shows no cells.
    """
    given = diameter_px or (CELL_UM / slide.pixel_um if slide.pixel_um else None)
    side = round(SIDE_CELLS * (given or _TYPICAL_PX))
    n = tuple(length // side for length in slide.shape)
    if min(n) < 1:
        raise ImageError(
            f"The slide '{slide.path}' is smaller than one field of {side} pixels; score it as an image."
        )
    overview = yield from _overview(slide, (n[0], n[1]), side)
    smear = _density(overview) > _GLASS
    if not smear.any():
        raise ImageError(f"The slide '{slide.path}' shows glass alone; check that it is a smear.")
    diameter = given or _typical_diameter(slide, smear, side)
    looked: dict[tuple[int, int], dict[str, float]] = {}
    table = pd.DataFrame()
    for number in range(_ROUNDS):
        wanted = _next_squares(smear, looked, table, number)
        for place in wanted:
            yield Step("monolayer", len(looked), _ROUND * _ROUNDS, "Looking for the monolayer")
            looked[place] = _looked_at(slide, place, side, diameter)
        table = _judged(looked, side)
        if not wanted or table["monolayer"].sum() >= 2 * n_fields:
            break
    yield Step("monolayer", _ROUND * _ROUNDS, _ROUND * _ROUNDS, "Monolayer found")
    return Monolayer(table, diameter, overview)


def _typical_diameter(slide: Slide, smear: NDArray[np.bool_], side: int) -> float:
    """Return the diameter of a typical cell in pixels, from squares spread over the smear.

    Raises
    ------
    ImageError
        If no cell stands alone.
    """
    places = np.argwhere(smear)
    chosen = places[np.linspace(0, len(places) - 1, min(len(places), 48)).astype(int)]
    found = [typical_diameter(normalise(slide.read(*_window(place, side)))) for place in chosen]
    known = [one for one in found if np.isfinite(one)]
    if not known:
        raise ImageError(
            f"No cell of the slide '{slide.path}' stands alone, so its size is unknown; give --diameter."
        )
    return float(np.median(known))


def _overview(slide: Slide, n: tuple[int, int], side: int) -> Generator[Event, None, Image]:
    """Return the slide at `OVERVIEW_PX` pixels a square, read row by row of squares."""
    shrink = side / OVERVIEW_PX
    level = max(m for m in range(len(slide.levels)) if slide.shrink(m) <= shrink * 1.01)
    if np.prod(slide.levels[level].shape) > 2 * MAX_PIXELS:
        raise ImageError(
            f"The slide '{slide.path}' has no smaller copies of its picture (a pyramid) for an overview; "
            "save it as a pyramidal OME-TIFF, as with 'bfconvert -pyramid-resolutions 5 -pyramid-scale 4'."
        )
    rows = []
    for row in range(n[0]):
        yield Step("overview", row, n[0], "Reading the overview")
        rows.append(slide.read(slice(row * side, (row + 1) * side), slice(0, n[1] * side), shrink))
    return np.concatenate(rows)


def _density(overview: Image) -> Floats:
    """Return the mean optical density of each square, 0 for glass."""
    grey = overview.astype(np.float64).mean(axis=2)
    scanned = grey[grey < 254]
    light = np.percentile(scanned, 99) if scanned.size else 255.0
    ny, nx = (length // OVERVIEW_PX for length in grey.shape)
    means = grey.reshape(ny, OVERVIEW_PX, nx, OVERVIEW_PX).mean(axis=(1, 3))
    return np.asarray(np.log(light) - np.log(np.maximum(means, 1.0)))


def _next_squares(
    smear: NDArray[np.bool_],
    looked: dict[tuple[int, int], dict[str, float]],
    table: pd.DataFrame,
    number: int,
) -> list[tuple[int, int]]:
    """Return the squares to look at next: spread evenly at first, then half of them near the good ones."""
    free = smear.copy()
    for place in looked:
        free[place] = False
    places = np.argwhere(free)
    rng = np.random.default_rng(number)
    good = table[table["monolayer"]] if len(table) else table
    near = np.empty((0, 2), int)
    if len(good):
        marked = np.ones(smear.shape, dtype=bool)
        marked[good["row"].to_numpy(int), good["column"].to_numpy(int)] = False
        distance = ndimage.distance_transform_edt(marked)[free]
        near = places[np.argsort(distance, kind="stable")[: _ROUND * 3 // 4]]
        places = places[~(places[:, None] == near[None]).all(axis=2).any(axis=1)]
    rest = places[np.sort(rng.permutation(len(places))[: _ROUND - len(near)])]
    return [(int(y), int(x)) for y, x in np.concatenate([near, rest])]


def _window(place: tuple[int, int] | NDArray[np.int64], side: int) -> tuple[slice, slice]:
    """Return the rows and columns of a square in pixels of the slide."""
    top, left = int(place[0]) * side, int(place[1]) * side
    return slice(top, top + side), slice(left, left + side)


def _looked_at(slide: Slide, place: tuple[int, int], side: int, diameter_px: float) -> dict[str, float]:
    """Return the measures of one square."""
    shrink = max(diameter_px / LOOK_PX, 1.0)
    return look(slide.read(*_window(place, side), shrink), diameter_px / shrink)


def look(image: Image, diameter_px: float) -> dict[str, float]:
    """Return measures of the layer of cells in an image ``(h, w, 3)``: the columns of `Monolayer.squares`.

    ``apart`` is the share of the area of all whole objects that lone cells of usual size have;
    ``pallor`` the median over lone cells of how much less their middle absorbs than their rim;
    ``sharpness`` the variance of the Laplacian of Gaussian in green over the variance of green.
    """
    normalised = normalise(image)
    found = compact_objects(normalised)
    typical = (found.diameter > 0.6 * diameter_px) & (found.diameter < 1.5 * diameter_px)
    lone = found.compact & typical
    area = found.area[found.inside].sum()
    green = normalised[..., 1].astype(np.float64)
    edges = ndimage.gaussian_laplace(green, 1.0, mode="nearest")
    return {
        "coverage": float((found.labels > 0).mean()),
        "apart": float(found.area[lone].sum() / area) if area else 0.0,
        "pallor": _pallor(1 - green, found.labels, np.flatnonzero(lone) + 1),
        "sharpness": float(edges.var() / green.var()) if green.var() > 0 else 0.0,
        "n_cells": float(lone.sum()),
    }


def _pallor(absorbed: Floats, labels: NDArray[np.int32], lone: NDArray[np.int64]) -> float:
    """Return the median over lone objects of ``1 - middle / rim``, 0 without any."""
    if not len(lone):
        return 0.0
    number = np.zeros(int(labels.max()) + 1, np.int64)
    number[lone] = np.arange(1, len(lone) + 1)
    y, x = np.nonzero(number[labels])
    owner = number[labels[y, x]] - 1
    n = np.bincount(owner)
    centre_y, centre_x = np.bincount(owner, y) / n, np.bincount(owner, x) / n
    relative = np.hypot(y - centre_y[owner], x - centre_x[owner]) / np.sqrt(n / np.pi)[owner]
    values = absorbed[y, x]
    means = []
    for part in (relative < 0.3, (relative > 0.5) & (relative < 0.8)):
        counts = np.bincount(owner[part], minlength=len(n))
        means.append(np.bincount(owner[part], values[part], len(n)) / np.maximum(counts, 1))
    return float(np.median(1 - means[0] / np.maximum(means[1], 1e-6)))


def _judged(looked: dict[tuple[int, int], dict[str, float]], side: int) -> pd.DataFrame:
    """Return the table of squares, the best first.

    Pallor and sharpness are held against the best squares of the same slide, so that a patient's
    spherocytes or a soft objective refuse nothing. Among the squares of the monolayer those with more lone,
    sharp cells come first; more pallor makes no square better, which would choose among the patient's cells.
    """
    table = pd.DataFrame(list(looked.values()))
    places = np.array(list(looked)).reshape(-1, 2)
    table.insert(0, "row", places[:, 0])
    table.insert(1, "column", places[:, 1])
    lying = table["coverage"].between(*_COVERED) & (table["n_cells"] >= _MIN_CELLS)
    most_apart = float(np.percentile(table["apart"][lying], _BEST)) if lying.any() else 1.0
    lying &= table["apart"] >= max(_APART[0], _APART[1] * most_apart)
    best = table[lying] if lying.any() else table
    sharpest, most = (float(np.percentile(best[name], _BEST)) for name in ("sharpness", "pallor"))
    sharp = table["sharpness"] / max(sharpest, 1e-9)
    domed = table["pallor"] >= (_DOMED * most if most >= _NO_PALLOR else -np.inf)
    table["monolayer"] = lying & (sharp >= _SHARP) & domed
    table["quality"] = table["n_cells"] * table["apart"] * sharp.clip(upper=1)
    table["y"], table["x"], table["side"] = table["row"] * side, table["column"] * side, side
    return table.sort_values(["monolayer", "quality"], ascending=False, kind="stable", ignore_index=True)
