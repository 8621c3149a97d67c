"""One colour scale per score, the same for every image; cells without a score are black."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from napari.utils.colormaps import Colormap, ensure_colormap
from numpy.typing import NDArray

from napari_amil.core.base.columns import column_of, menu_names
from napari_amil.core.base.types import ANOMALOUS_Q

UNSCORED_RGBA = (0.0, 0.0, 0.0, 1.0)
"""Colour of the outline of a cell without a score: black, quiet, and seen on pale and on dark red cells."""
FILL_ALPHA = (0.0, 0.35)
"""Opacity of the inside of a tinted cell at the lower and at the upper end of the scale."""
STYLES = ("tinted", "outline", "box", "filled")
"""Ways to draw a cell: outline with a tint where it is extreme, outline alone, box, or filled mask."""

SEQUENTIAL_MAPS = ("plasma", "viridis", "magma", "inferno")
"""Perceptually even maps that people with a colour-vision deficiency can read (cividis begins nearly
black, as are cells without a score, so it is not among them)."""
DIVERGING_MAPS = ("coolwarm", "PiYG")
"""Maps with a neutral middle, for scores that have a sign."""

_MUTED = 0.5
"""Opacity of the outline of a cell that does not stand out, beside some that do."""
_RAREST = 1e-4
"""Percentiles above 99.99 % have one colour: no more control cells are known."""
_LOWEST_SHADE = 0.08
"""The dark end of a map is hard to tell from black stain and a black canvas; it is left out."""


@dataclass(frozen=True)
class CellStyle:
    """Style that cells are drawn in.

    Parameters
    ----------
    kind
        One of `STYLES`.
    opacity
        Of the inside of a filled cell, and of a smooth field, 0 to 1.
    only_standing_out
        Whether cells that do not stand out are hidden, where some do.
    """

    kind: str = STYLES[0]
    opacity: float = 0.6
    only_standing_out: bool = False

    def __post_init__(self) -> None:
        if self.kind not in STYLES or not 0 <= self.opacity <= 1:
            raise ValueError(f"There is no style '{self.kind}' with opacity {self.opacity}.")


@dataclass(frozen=True)
class ColourScale:
    """Score to show, its range and its colour map.

    Parameters
    ----------
    column
        Name of the score.
    low, high
        Values at the two ends of the map; values beyond take the end colour.
    colormap
        Name of a map.
    style
        Style of the cells.
    """

    column: str
    low: float
    high: float
    colormap: str
    style: CellStyle = CellStyle()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"A colour scale needs finite low < high, not {self.low} and {self.high}.")

    def position(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions of ``values`` on the scale, 0 to 1; NaN stays NaN."""
        numbers = np.asarray(values, float)
        low, high = self.low, self.high
        if column_of(self.column).has_tail:
            numbers, low, high = rarity(numbers), *(float(end) for end in rarity(np.array([low, high])))
        return np.clip((numbers - low) / (high - low), 0.0, 1.0)

    def edge_rgba(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the colours ``(n, 4)`` of the outlines: opaque, but where boxes stand in for them."""
        colours = self.rgba(values)
        colours[:, 3] = 0.0 if self.style.kind == "box" else 1.0
        return colours

    def rgba(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the opaque colours ``(n, 4)`` of ``values``; NaN is black and never transparent."""
        place = self.position(values)
        known = np.isfinite(place)
        colours = np.tile(np.array(UNSCORED_RGBA), (len(place), 1))
        if known.any():
            colours[known] = map_colours(self.colormap, place[known])
        return colours

    def face_rgba(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the colours ``(n, 4)`` of the cells' insides, as the style has them.

        A tint is the stronger the more extreme the score; a filled cell is as opaque as all others.
        """
        colours = self.rgba(values)
        place = self.position(values)
        if self.style.kind == "filled":
            colours[:, 3] = self.style.opacity
        elif self.style.kind == "tinted":
            strength = np.abs(2 * place - 1) if self.colormap in DIVERGING_MAPS else place
            low, high = FILL_ALPHA
            colours[:, 3] = np.where(np.isfinite(place), low + (high - low) * strength**2, 0.0)
        else:
            colours[:, 3] = 0.0
        return colours


def rarity(percent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rarity of a percentile among control cells, in powers of ten: 90 % is 1, 99 % is 2.

    >>> rarity(np.array([0.0, 90.0, 99.0, 99.9, 100.0])).round(6).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    return -np.log10(np.clip(1 - np.asarray(percent, float) / 100, _RAREST, 1.0))


def tiers(
    scale: ColourScale, q: NDArray[np.float64], edges: NDArray[np.float64], faces: NDArray[np.float64]
) -> None:
    """Make the cells that do not stand out (q of 0.05 or more) paler, or hide them; where none does, none.

    Parameters
    ----------
    q
        ``(n,)`` q-values; NaN for a cell without a score, which keeps its colour.
    edges, faces
        ``(n, 4)`` RGBA of outlines and insides; changed in place.
    """
    stands_out = q < ANOMALOUS_Q
    if not stands_out.any():
        return
    if scale.style.only_standing_out:
        edges[~stands_out, 3] = faces[~stands_out, 3] = 0.0
    elif scale.column.split("_")[0] == "anomaly":
        muted = ~stands_out & np.isfinite(q)
        edges[muted, 3] *= _MUTED
        if scale.style.kind == "tinted":
            faces[muted, 3] = 0.0


def map_colours(name: str, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the opaque colours ``(n, 4)`` of the map ``name`` at ``place`` (0 to 1)."""
    colormap: Colormap = ensure_colormap(name)
    start = 0.0 if name in DIVERGING_MAPS else _LOWEST_SHADE
    colours = np.array(colormap.map(start + (1 - start) * np.asarray(place, float)), dtype=float)
    colours[:, 3] = 1.0
    return colours


def is_signed(column: str) -> bool:
    """Return whether the score has a sign, and therefore a diverging map around zero."""
    return column_of(column).diverging


def default_scale(column: str, values: NDArray[np.float64]) -> ColourScale:
    """Return the scale that ``column`` starts with.

    Scores with a fixed meaning have fixed ends (a percentile runs from 50, an ordinary cell, to 100, since
    the unusual half is what is looked for). For the others the
    first scored image sets the ends (2nd to 98th percentile, rounded outwards), and they stay until the
    user changes them, so that one colour means one value in every image.
    """
    ends = column_of(column).ends
    if ends is not None:
        return ColourScale(column, *ends, SEQUENTIAL_MAPS[0])
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if is_signed(column):
        reach = _round_up(float(np.percentile(np.abs(known), 98)) if len(known) else 1.0)
        return ColourScale(column, -reach, reach, DIVERGING_MAPS[0])
    low, high = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)
    step = _round_up((high - low) / 20)
    low, high = np.floor(low / step) * step, np.ceil(high / step) * step
    return ColourScale(column, float(low), float(max(high, low + step)), SEQUENTIAL_MAPS[0])


def _round_up(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten at or above ``value``."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= value * (1 - 1e-9))
    )


def known_score_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that cells can be coloured by and at least one has a value of."""
    names = menu_names(table)
    known = table[names].notna().to_numpy().any(axis=0)
    return [name for name, is_known in zip(names, known, strict=True) if is_known]
