"""Figure of a field whose cells are coloured by a value, with a labelled colour bar."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_amil.core.base.column import Column
from napari_amil.core.base.types import Image

_INCHES_WIDE = 8.0
_UNKNOWN = "#8c8c8c"


class _FieldFigure(Figure):
    """A figure that a notebook shows by itself, whether or not pyplot was imported."""

    def _repr_png_(self) -> bytes:
        """Return the picture that a notebook shows."""
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=72)
        return stream.getvalue()


def draw_cells(
    image: Image,
    outlines: Sequence[NDArray[np.float32]],
    values: NDArray[np.float64] | None = None,
    column: Column | None = None,
) -> Figure:
    """Return a figure of a field with the outline of every cell on it.

    Parameters
    ----------
    image
        ``(height, width, 3)``, RGB, 0 to 255.
    outlines
        One polygon ``(n_points, 2)`` y, x per cell, in pixels of the image.
    values
        ``(n_cells,)`` what colours the outlines; NaN is grey. None draws all in one colour.
    column
        The column of the values: title, unit, and ends of the scale.
    """
    height, width = image.shape[:2]
    figure = _FieldFigure(figsize=(_INCHES_WIDE, _INCHES_WIDE * height / width), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(image, extent=(0, width, height, 0))
    axes.set_axis_off()
    polygons = [outline[:, ::-1] for outline in outlines]
    if values is None:
        axes.add_collection(PolyCollection(polygons, facecolors="none", edgecolors="#0072B2", linewidths=1.5))
        return figure
    known = np.isfinite(values)
    unknown = [polygon for polygon, has in zip(polygons, known, strict=True) if not has]
    axes.add_collection(PolyCollection(unknown, facecolors="none", edgecolors=_UNKNOWN, linewidths=1.0))
    order = np.flatnonzero(known)[np.argsort(np.abs(values[known]), kind="stable")]
    diverging = column is not None and column.diverging
    drawn = PolyCollection(
        [polygons[row] for row in order],
        facecolors="none",
        linewidths=1.8,
        cmap="coolwarm" if diverging else "plasma",
        array=values[order],
    )
    if column is not None and column.ends:
        drawn.set_clim(*column.ends)
    elif diverging and len(order):
        reach = float(np.abs(values[order]).max()) or 1.0
        drawn.set_clim(-reach, reach)
    axes.add_collection(drawn)
    unit = f" ({column.unit})" if column is not None and column.unit not in {"", "%"} else ""
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="" if column is None else f"{column.title}{unit}")
    return figure
