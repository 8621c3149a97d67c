"""Pixels around cells, from an open layer or a file: squares for thumbnails, pictures with outlines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tifffile
from napari.layers import Image, Shapes
from numpy.typing import NDArray
from PIL import Image as Picture

from napari_amil.plugin.layers.rows import CellRecord, outline_of, record_of

Square = tuple[int, int, int]
"""A square window on a field: y and x of its upper left pixel (may be negative) and its side in pixels."""
UNREADABLE = (OSError, ValueError, TypeError, SyntaxError, IndexError, Picture.DecompressionBombError)
_TIFF = {".tif", ".tiff"}
_MARGIN = 1.2
"""Side of the window around a cell, as a multiple of the longer side of its box."""
ACROSS = 1.9
"""Side of a picture in typical cell diameters, the same for every cell of an image."""
_ROOM = 1.15
"""A cell that is larger than that gets its own box and this much more."""
_GRID = 128
_WHITE, _WHITE_PERCENTILE, _MOST_GAIN = 240.0, 90, 2.5
_gains: WeakKeyDictionary[Image, NDArray[np.float64]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PixelSource:
    """One field of cells; ``load`` returns it as ``(h, w, 3)`` uint8, and may be called in any thread."""

    key: str
    load: Callable[[], NDArray[np.uint8]]


def source_of_file(path: Path, page: int = 0) -> PixelSource:
    """Return a field of an image file; nothing is read before it is asked for."""
    return PixelSource(f"{path}#{page}", lambda: _read(path, page))


def source_of_layer(layer: Image, place: tuple[int, ...]) -> PixelSource:
    """Return one plane of an image layer; the layer itself is asked now, and only its array later."""
    stack: Any = layer.data[0] if layer.multiscale else layer.data
    limits = None if layer.rgb else tuple(float(value) for value in layer.contrast_limits)
    return PixelSource(f"{layer.unique_id}#{place}", lambda: to_rgb8(np.asarray(stack[place]), limits))


def square_around(box: NDArray[np.floating[Any]], typical_px: float) -> Square:
    """Return the square around a box ``y0, x0, y1, x1``, as large as a typical cell needs, or this one.

    So all thumbnails have one magnification, and a large cell looks large.
    """
    y0, x0, y1, x1 = (float(value) for value in box)
    side = int(np.ceil(_MARGIN * max(y1 - y0, x1 - x0, typical_px)))
    return round((y0 + y1 - side) / 2), round((x0 + x1 - side) / 2), max(side, 1)


def cut(pixels: NDArray[np.uint8], square: Square, size_px: int) -> NDArray[np.uint8]:
    """Return the window as ``(size_px, size_px, 3)``; beyond the border the nearest pixels are repeated."""
    y, x, side = square
    height, width = pixels.shape[:2]
    part = pixels[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
    if not part.size:
        raise ValueError("The window lies outside the image.")
    before, after = (max(-y, 0), max(-x, 0)), (max(y + side - height, 0), max(x + side - width, 0))
    part = np.pad(part, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
    scaled = Picture.fromarray(part).resize((size_px, size_px), Picture.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.uint8)


def to_rgb8(pixels: NDArray[Any], limits: tuple[float, ...] | None = None) -> NDArray[np.uint8]:
    """Return samples as ``(h, w, 3)`` uint8; other types are stretched between ``limits``."""
    if pixels.dtype != np.uint8 or (limits is not None and limits != (0.0, 255.0)):
        low, high = limits if limits is not None else (float(np.nanmin(pixels)), float(np.nanmax(pixels)))
        place = (pixels.astype(np.float32) - low) / max(high - low, 1e-12)
        pixels = np.rint(255 * np.clip(np.nan_to_num(place), 0, 1)).astype(np.uint8)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 2:
        return np.repeat(pixels[..., :1], 3, axis=2)
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:] / np.float32(255)
        return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return pixels[..., :3]


def _read(path: Path, page: int) -> NDArray[np.uint8]:
    if path.suffix.lower() in _TIFF:
        pixels = np.squeeze(tifffile.imread(path, key=page))
        if pixels.ndim == 3 and pixels.shape[0] in {3, 4} and pixels.shape[2] not in {3, 4}:
            pixels = np.moveaxis(pixels, 0, 2)
        return to_rgb8(pixels)
    with Picture.open(path) as picture:
        if picture.mode.startswith(("I", "F", "L")):
            return to_rgb8(np.asarray(picture))
        return to_rgb8(np.asarray(picture.convert("RGBA" if "A" in picture.getbands() else "RGB")))


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
