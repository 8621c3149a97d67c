"""Where the pixels of a field come from, open or on disk, and the square around a cell cut out of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from napari.layers import Image
from numpy.typing import NDArray
from PIL import Image as Picture

Square = tuple[int, int, int]
"""A square window on a field: y and x of its upper left pixel (may be negative) and its side in pixels."""
UNREADABLE = (OSError, ValueError, TypeError, SyntaxError, IndexError, Picture.DecompressionBombError)
_TIFF = {".tif", ".tiff"}
_MARGIN = 1.2
"""Side of the window around a cell, as a multiple of the longer side of its box."""


@dataclass(frozen=True, eq=False)
class Field:
    """One field of cells; ``load`` returns it as ``(h, w, 3)`` uint8, and may be called in any thread."""

    key: str
    load: Callable[[], NDArray[np.uint8]]


def field_of_file(path: Path, page: int = 0) -> Field:
    """Return a field of an image file; nothing is read before it is asked for."""
    return Field(f"{path}#{page}", lambda: _read(path, page))


def field_of_layer(layer: Image, place: tuple[int, ...]) -> Field:
    """Return one plane of an image layer; the layer itself is asked now, and only its array later."""
    stack: Any = layer.data[0] if layer.multiscale else layer.data
    limits = None if layer.rgb else tuple(float(value) for value in layer.contrast_limits)
    return Field(f"{layer.unique_id}#{place}", lambda: to_rgb8(np.asarray(stack[place]), limits))


def window_of(box: NDArray[np.floating[Any]], typical_px: float) -> Square:
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
    """Return samples as ``(h, w, 3)`` uint8; what is not 8-bit is stretched between ``limits``."""
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
