"""A held-out image in the viewer, with what the old and the new detector find as two layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.plugin.layers.crops import UNREADABLE, field_of_file
from napari_amil.plugin.layers.rows import PIXEL_EDGE
from napari_amil.plugin.layers.triangulation import fastest_triangulation
from napari_amil.plugin.window.follow import COMPANION

OLD_COLOUR, NEW_COLOUR, ANNOTATED_COLOUR = "#d55e00", "#0072b2", "#009e73"
"""Vermilion, blue and green, which colour-blind eyes tell apart on a red smear too."""
_MARK = "napari_amil_comparison"
_OLD_WIDTH, _NEW_WIDTH = 1 / 8, 1 / 18
"""Of a cell's side: the old outline is the broader one, so that both are seen where they agree."""


def show_comparison(viewer: ViewerModel, entry: dict[str, Any]) -> list[Layer]:
    """Open a held-out image with its outlines, in place of the one that was compared before.

    Parameters
    ----------
    viewer
        Where.
    entry
        Of ``held-out.json``, with whole paths.

    Raises
    ------
    AmilError
        If the image or the cells cannot be read.
    """
    try:
        pixels = field_of_file(Path(entry["path"]), int(entry["page"])).load()
    except UNREADABLE as error:
        raise AmilError(
            f"The image '{entry['path']}' cannot be opened ({error}); is it still where it was?"
        ) from error
    found = {name: read_geojson(Path(entry[name]["cells"])) for name in ("before", "after") if name in entry}
    annotated = read_geojson(Path(entry["annotated"]))
    end_comparison(viewer)
    image = viewer.add_image(pixels, name=f"held out: {entry['image']}", rgb=True)
    image.metadata[_MARK] = True
    side = _typical_side(annotated)
    made: list[Layer] = [image]
    for cells, name, colour, share in (
        (annotated, "annotated", ANNOTATED_COLOUR, _NEW_WIDTH),
        (found.get("before"), "found by the old", OLD_COLOUR, _OLD_WIDTH),
        (found.get("after"), "found by the new", NEW_COLOUR, _NEW_WIDTH),
    ):
        if cells is not None:
            layer = _outlines(cells, f"{name} ({len(cells)})", colour, share * side)
            layer.metadata = {_MARK: True, COMPANION: str(image.unique_id)}
            layer.visible = name != "annotated"
            made.append(viewer.add_layer(layer))
    viewer.reset_view()
    return made


def end_comparison(viewer: ViewerModel) -> None:
    """Take the layers of a comparison away."""
    for layer in [layer for layer in viewer.layers if _MARK in layer.metadata]:
        viewer.layers.remove(layer)


def _outlines(cells: Cells, name: str, colour: str, width: float) -> Shapes:
    shapes: Sequence[NDArray[np.float32]] = [outline - PIXEL_EDGE for outline in cells.outlines]
    with fastest_triangulation():
        return Shapes(
            list(shapes) or None,
            ndim=2,
            shape_type="polygon",
            edge_width=max(width, 0.75),
            edge_color=colour,
            face_color="transparent",
            name=name,
            opacity=0.9,
        )


def _typical_side(cells: Cells) -> float:
    sides = (cells.boxes[:, 2:] - cells.boxes[:, :2]).max(axis=1) if len(cells) else np.array([24.0])
    return float(np.median(sides))
