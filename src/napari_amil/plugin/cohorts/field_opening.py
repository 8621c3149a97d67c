"""Show a cell in its image: raise the open image, or open it with its cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.cohorts.cell_canvas import add_canvas, is_of_cell_images
from napari_amil.plugin.cohorts.scored_folder import file_of, typical_side_px
from napari_amil.plugin.layers.cell_layer import cell_layers, make_layer, set_scores, show_scale
from napari_amil.plugin.layers.colour_scale import CellStyle, ColourScale
from napari_amil.plugin.layers.companions import companions_of
from napari_amil.plugin.layers.crops import UNREADABLE, source_of_file
from napari_amil.plugin.layers.rows import DOTTED, CellRecord, record_of
from napari_amil.plugin.layers.selection import BAG, CANVAS, CellKey, rows_of

_SAME_BOX_PX = 2.0


def find_same_cell(viewer: ViewerModel, key: CellKey, box: np.ndarray) -> tuple[Shapes, int] | None:
    """Return layer and row of an open cell with this key that also lies at ``box`` (y0, x0, y1, x1)."""
    for layer in cell_layers(viewer.layers):
        for row in rows_of(layer, [key]):
            here = layer.features.iloc[row][BOX_COLUMNS].to_numpy(float)
            if CANVAS in layer.metadata or np.abs(here - box).max() <= _SAME_BOX_PX:
                return layer, row
    return None


def open_field(
    viewer: ViewerModel,
    images: Path,
    cells: pd.DataFrame,
    outlines: tuple[NDArray[np.float32], ...],
    scale: ColourScale | None,
) -> Shapes:
    """Open the image of ``cells``, all rows of one image of a scored cohort, and lay the cells on it.

    The rows of a bag of cell images are opened as one canvas (`add_canvas`).

    Parameters
    ----------
    outlines
        Row for row as ``cells``; cells without outlines are drawn as boxes.

    Raises
    ------
    AmilError
        If the image cannot be read.
    """
    if is_of_cell_images(cells) and "bag" in cells:
        layer = add_canvas(viewer, cells, lambda name: _pixels(images, name))[1]
        if scale is not None:
            show_scale(layer, replace(scale, style=CellStyle("outline")))
        return layer
    name = str(cells["image"].iloc[0])
    pixels = _pixels(images, name)
    image = viewer.add_image(pixels, name=Path(name).name, rgb=True)
    found = Cells.from_table(cells, outlines)
    record = CellRecord(str(image.unique_id), name, (), (pixels.shape[0], pixels.shape[1]))
    record.candidates = Candidates.from_cells(found, typical_side_px(cells))
    layer = make_layer(found, record, image)
    if "bag" in cells:
        layer.metadata[BAG] = str(cells["bag"].iloc[0])
    set_scores(layer, cells)
    if scale is not None:
        show_scale(layer, scale)
    viewer.add_layer(layer)
    return layer


def _pixels(images: Path, name: str) -> NDArray[Any]:
    """Return the pixels of an image of a cohort."""
    path, page = file_of(images, name)
    try:
        return np.asarray(source_of_file(path, page).load())
    except UNREADABLE as error:
        raise AmilError(f"The image '{path}' cannot be opened ({error}); check that it is there.") from error


def bring_forward(viewer: ViewerModel, layer: Shapes) -> None:
    """Show ``layer`` and its image, and hide other smears that lie over them."""
    record = record_of(layer)
    image = next(
        (other for other in viewer.layers if record and str(other.unique_id) == record.image_id), None
    )
    for wanted in (image, *_shown_for(viewer, layer)):
        if wanted is not None:
            wanted.visible = True
    if image is None or viewer.canvas.grid.enabled:
        return
    for other in cell_layers(viewer.layers):
        below = record_of(other)
        if other is layer or below is None or record is None or below.image_id == record.image_id:
            continue
        cover = next((lay for lay in viewer.layers if str(lay.unique_id) == below.image_id), None)
        if isinstance(cover, Image) and _overlap(cover, image):
            for hidden in (cover, *_shown_for(viewer, other)):
                hidden.visible = False


def _shown_for(viewer: ViewerModel, layer: Shapes) -> list[Layer]:
    """Return the layers that show the cells of ``layer``: itself, unless dots stand in for it, and others."""
    itself: list[Layer] = [] if DOTTED in layer.metadata else [layer]
    return [*itself, *companions_of(viewer, layer)]


def _overlap(first: Image, second: Image) -> bool:
    """Return whether two images share a part of the world's last two axes."""
    (low_a, high_a), (low_b, high_b) = (np.asarray(layer.extent.world)[:, -2:] for layer in (first, second))
    return bool((np.minimum(high_a, high_b) > np.maximum(low_a, low_b)).all())
