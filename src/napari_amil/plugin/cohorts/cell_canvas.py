"""Show a sample of cell images as one canvas of thumbnails, with a shape for each cell."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, score_names
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.layers.cell_layer import make_layer, set_scores
from napari_amil.plugin.layers.rows import CellRecord
from napari_amil.plugin.layers.selection import BAG, CANVAS

_GAP_PX = 4  # white between two thumbnails
_WHITE = 255

Pixels = Callable[[str], NDArray[np.uint8]]
"""Returns the pixels ``(height, width)`` or ``(height, width, 3)`` of an image by its name in the table."""


def is_of_cell_images(cells: pd.DataFrame) -> bool:
    """Return whether the cells of a bag fill an image each: more than one, none twice, from its corner on."""
    corners = cells[["y0", "x0"]].to_numpy(float)
    return len(cells) > 1 and cells["image"].is_unique and bool((corners == 0).all())


def add_canvas(viewer: ViewerModel, cells: pd.DataFrame, pixels_of: Pixels) -> tuple[Image, Shapes]:
    """Add a canvas of the images of a bag to a viewer, and its cells as shapes with their scores.

    The cells stand in the order of the table, line by line. The layer knows which image each cell is
    of (`CANVAS`), so that a cell that is chosen here is chosen in every view.

    Parameters
    ----------
    cells
        The rows of one bag of a scored cohort, each cell with a ``cell_id`` of its own.
    pixels_of
        Reads an image.

    Raises
    ------
    AmilError
        If an image cannot be read.
    """
    pictures = [_colour(pixels_of(str(name))) for name in cells["image"]]
    canvas, corners = _laid_out(pictures)
    name = str(cells["bag"].iloc[0])
    placed = cells.copy()
    placed[BOX_COLUMNS] = cells[BOX_COLUMNS].to_numpy(float) + np.tile(corners, 2)
    found = Cells.from_table(placed)
    image = Image(canvas, rgb=True, name=name)
    record = CellRecord(str(image.unique_id), name, (), (canvas.shape[0], canvas.shape[1]))
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    record.candidates = Candidates.from_cells(found, float(np.median(sides)))
    layer = make_layer(found, record, image)
    images = zip(placed["cell_id"].tolist(), placed["image"].tolist(), strict=True)
    layer.metadata[BAG] = name
    layer.metadata[CANVAS] = {int(number): str(of) for number, of in images}
    set_scores(layer, placed[["cell_id", *score_names(placed)]])
    viewer.add_layer(image)
    viewer.add_layer(layer)
    return image, layer


def _laid_out(pictures: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return a canvas of pictures of any size, and the corner ``(n, 2)`` y, x of each."""
    side = np.array([picture.shape[:2] for picture in pictures]).max(axis=0) + _GAP_PX
    n_columns = math.ceil(math.sqrt(len(pictures)))
    n_rows = math.ceil(len(pictures) / n_columns)
    canvas = np.full((n_rows * side[0], n_columns * side[1], 3), _WHITE, dtype=np.uint8)
    corners = np.array([np.divmod(n, n_columns) * side for n in range(len(pictures))]) + _GAP_PX // 2
    for picture, (y, x) in zip(pictures, corners, strict=True):
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas, corners.astype(np.float64)


def _colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels as RGB of 8 bits."""
    rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
    return rgb if rgb.dtype == np.uint8 else (rgb / max(float(rgb.max()), 1e-9) * 255).astype(np.uint8)
