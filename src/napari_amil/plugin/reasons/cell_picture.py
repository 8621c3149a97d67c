"""The picture of one cell with its outline, cut from the image layer that it lies on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_amil.plugin.layers.rows import CellRecord, outline_of, record_of

ACROSS = 1.9
"""Side of a picture in typical cell diameters, the same for every cell of an image."""
_ROOM = 1.15
"""A cell that is larger than that gets its own box and this much more."""
_GRID = 128
_WHITE, _WHITE_PERCENTILE, _MOST_GAIN = 240.0, 90, 2.5
_gains: WeakKeyDictionary[Image, NDArray[np.float64]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class CellPicture:
    """A square of an image around a cell.

    Parameters
    ----------
    pixels
        ``(side, side, 3)`` uint8, brightened so that the background of the image is white.
    outline
        ``(n_points, 2)`` y, x in pixels of the picture, from the corner of the first.
    """

    pixels: NDArray[np.uint8]
    outline: NDArray[np.float64]


def image_of(layers: Iterable[Any], layer: Shapes) -> Image | None:
    """Return the open image that the cells of ``layer`` lie on."""
    record = record_of(layer)
    images = (other for other in layers if isinstance(other, Image))
    return next((i for i in images if record is not None and str(i.unique_id) == record.image_id), None)


def cell_picture(layers: Iterable[Any], layer: Shapes, row: int) -> CellPicture | None:
    """Return the picture of the cell in ``row`` of a cell layer; None if its image was closed.

    Only the pixels of the picture are read, so that images which are loaded piece by piece stay fast.
    """
    record, image = record_of(layer), image_of(layers, layer)
    if record is None or image is None or row >= layer.nshapes:
        return None
    outline = outline_of(layer, row)
    low, high = outline.min(axis=0), outline.max(axis=0)
    side = int(np.ceil(max(ACROSS * _diameter(record, low, high), _ROOM * float((high - low).max()), 8)))
    corner = np.floor((low + high - side) / 2).astype(int)
    return CellPicture(_window(image, record, corner, side), outline - corner)


def _diameter(record: CellRecord, low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    typical = record.candidates.diameter_px
    return float(typical) if np.isfinite(typical) else float((high - low).max())


def _window(image: Image, record: CellRecord, corner: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
    """Return the square as 8-bit RGB; what lies outside the image repeats its edge."""
    stack = image.data[0] if image.multiscale else image.data
    shape = np.asarray(record.image_shape)
    first, last = np.clip(corner, 0, shape - 1), np.clip(corner + side, 1, shape)
    last = np.maximum(last, first + 1)
    place = (*record.place, slice(first[0], last[0]), slice(first[1], last[1]))
    pixels = _as_rgb(np.asarray(stack[place]), image)
    before, after = first - corner, corner + side - last
    room = ((max(before[0], 0), max(after[0], 0)), (max(before[1], 0), max(after[1], 0)), (0, 0))
    padded = np.pad(pixels, room, mode="edge")[:side, :side]
    return np.ascontiguousarray(np.rint(np.clip(padded * _gain(image), 0, 255)).astype(np.uint8))


def _gain(image: Image) -> NDArray[np.float64]:
    """Return the factor ``(3,)`` that makes the background of an image white, the same for all its cells.

    It is measured on a coarse grid of pixels, once an image; images that are loaded piece by piece are
    left as they are.
    """
    if image not in _gains:
        data = image.data[-1] if image.multiscale else image.data
        if isinstance(data, np.ndarray):
            plane = data[(0,) * (image.ndim - 2)]
            height, width = plane.shape[:2]
            coarse = plane[:: max(height // _GRID, 1), :: max(width // _GRID, 1)]
            white = np.percentile(_as_rgb(coarse, image).reshape(-1, 3), _WHITE_PERCENTILE, axis=0)
            _gains[image] = np.clip(_WHITE / np.maximum(white, 1), 1.0, _MOST_GAIN)
        else:
            _gains[image] = np.ones(3)
    return _gains[image]


def _as_rgb(pixels: NDArray[Any], image: Image) -> NDArray[np.uint8]:
    """Return 8-bit RGB: colour as it is, grey as the layer's contrast limits show it."""
    if pixels.ndim == 3 and pixels.dtype == np.uint8:
        return pixels[..., :3]
    if pixels.ndim == 3:
        low, high = (
            0.0,
            1.0 if np.issubdtype(pixels.dtype, np.floating) else float(np.iinfo(pixels.dtype).max),
        )
        pixels = pixels[..., :3]
    else:
        low, high = (float(limit) for limit in image.contrast_limits)
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    share = (pixels.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)), np.uint8)
