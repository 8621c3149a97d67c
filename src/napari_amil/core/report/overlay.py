"""Draw the outlines of cells on their field, coloured by percentile."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from napari_amil.core.base.columns import column_of
from napari_amil.core.base.types import Image

SCALE = column_of("anomaly_percentile").ends or (0.0, 100.0)
"""Percentiles at the two ends of the colour map, as in the window by default."""
_MAP, _LOWEST_SHADE = "plasma", 0.08
_UNSCORED = (140, 140, 140)
_WIDEST_PX = 1000
_JPEG_QUALITY = 80


def draw_overlay(
    image: Image, outlines: Sequence[NDArray[np.float32]], percentile: NDArray[np.floating]
) -> Image:
    """Return a field, at most 1000 pixels wide, with the outline of every cell on it.

    Parameters
    ----------
    image
        ``(height, width, 3)``, RGB, 0 to 255.
    outlines
        One polygon ``(n_points, 2)`` y, x per cell, in pixels of the image.
    percentile
        ``(n_cells,)`` percentile among control cells; NaN is grey. The most unusual are drawn last.
    """
    height, width = image.shape[:2]
    factor = min(1.0, _WIDEST_PX / width)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    canvas = PillowImage.fromarray(image).resize(size)
    drawing = ImageDraw.Draw(canvas)
    colours = percentile_colours(percentile)
    for row in np.argsort(np.nan_to_num(percentile, nan=-1.0), kind="stable"):
        points = [(float(x) * factor, float(y) * factor) for y, x in outlines[row]]
        drawing.line([*points, points[0]], fill=tuple(colours[row].tolist()), width=2)
    return np.asarray(canvas)


def percentile_colours(percentile: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the colour ``(n_cells, 3)`` of each percentile; grey where there is none."""
    share = np.clip((percentile - SCALE[0]) / (SCALE[1] - SCALE[0]), 0, 1)
    shade = _LOWEST_SHADE + (1 - _LOWEST_SHADE) * np.nan_to_num(share)
    colours = (mpl.colormaps[_MAP](shade)[:, :3] * 255).round().astype(np.uint8)
    colours[~np.isfinite(percentile)] = _UNSCORED
    return np.asarray(colours)


def picture_uri(image: Image) -> str:
    """Return a picture as a ``data:`` address that a page can hold."""
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def figure_uri(figure: Figure) -> str:
    """Return a figure as a ``data:`` address that a page can hold."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
