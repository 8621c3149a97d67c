"""Slides of scanners in napari: a lazy pyramid, and the part of it that is searched for cells."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.transforms import Affine

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images.fields import Field
from napari_amil.core.images.slide import is_slide, open_slide
from napari_amil.plugin.layers.cell_layer import image_transform
from napari_amil.plugin.layers.planes import source_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.snapshot import LayerData

MOST_PX = 25_000_000
"""Pixels of a part of a slide that is searched in the window at once."""
_WHOLE_PX = 400_000_000
"""Pixels up to which a pyramid that is no scanner's file is searched as a whole."""
_CHUNK_PX = 1024


class _Pixels:
    """A level as dask wants it: an array ``(h, w, 3)`` uint8 of which only windows are read."""

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, level: Field) -> None:
        self._level = level
        self.shape = (*level.shape, 3)

    def __getitem__(self, window: tuple[slice, slice, slice]) -> Any:  # noqa: ANN401 - an image
        rows, columns, _ = window
        return self._level.window(rows, columns)


def get_slide_reader(path: str | Sequence[str]) -> Callable[..., list[LayerData]] | None:
    """Return the reader of slides if every file has the extension of a scanner's format."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_slides if paths and all(is_slide(Path(one)) for one in paths) else None


def read_slides(path: str | Sequence[str]) -> list[LayerData]:
    """Return an image layer for each slide, of which napari reads only the visible part.

    Raises
    ------
    ImageError
        If a file cannot be read.
    MissingExtraError
        If the library that reads the format is not installed.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return [_layer(Path(one)) for one in paths]


def _layer(path: Path) -> LayerData:
    open_files = ExitStack()
    slide = open_files.enter_context(open_slide(path))
    chunks = (_CHUNK_PX, _CHUNK_PX, 3)
    # a lock: libraries read a file in one thread at a time
    levels = [
        dask.array.from_array(_Pixels(level), chunks=chunks, asarray=False, lock=True, name=False)
        for level in slide.levels
    ]
    weakref.finalize(slide.levels[0], open_files.close)
    return levels, {"name": path.name, "multiscale": True, "rgb": True}, "image"


def is_searched_in_parts(layer: Image) -> bool:
    """Return whether a layer is a scanner's slide, or another pyramid too large to be searched as a whole."""
    if not layer.multiscale:
        return False
    source = source_of(layer)
    is_of_scanner = source is not None and is_slide(source)
    return is_of_scanner or math.prod(layer.data[0].shape[:2]) > _WHOLE_PX


def part_of_slide(viewer: ViewerModel, layer: Image) -> Image:
    """Return a new image layer with a part of a slide in full resolution, over the slide.

    It is the rectangle that was drawn last in a visible Shapes layer without cells, else what the canvas
    shows.

    Raises
    ------
    ImageError
        If the part is too large to be searched at once, or lies beside the slide.
    """
    drawn = _rectangle(viewer, layer)
    low, high = _shown(viewer, layer) if drawn is None else drawn
    finest = layer.data[0]
    top, left = np.clip(np.floor(low), 0, finest.shape[:2]).astype(int).tolist()
    bottom, right = np.clip(np.ceil(high), 0, finest.shape[:2]).astype(int).tolist()
    height, width = bottom - top, right - left
    if height <= 0 or width <= 0:
        raise ImageError(f"The part of '{layer.name}' lies beside the slide; draw it on the slide.")
    if height * width > MOST_PX:
        side = math.isqrt(MOST_PX)
        what = "The canvas shows" if drawn is None else "The rectangle has"
        raise ImageError(
            f"{what} {width:,} x {height:,} pixels of '{layer.name}'; zoom in to at most {side:,} x "
            f"{side:,}, or draw a rectangle that small in a new Shapes layer. 'napari-amil slide' finds the "
            "best fields of a whole slide."
        )
    pixels = np.asarray(finest[top:bottom, left:right])
    own = image_transform(layer)
    linear = Affine(scale=own["scale"], rotate=own["rotate"], shear=own["shear"], translate=own["translate"])
    placed = own | {"translate": np.asarray(linear(np.array([top, left], float)))}
    return Image(pixels, rgb=True, name=f"{layer.name} at {left}, {top}", **placed)


def _rectangle(viewer: ViewerModel, layer: Image) -> tuple[Any, Any] | None:
    """Return the corners, in pixels of the slide, of the rectangle that was drawn last; None without one."""
    for shapes in reversed(list(viewer.layers)):
        if not isinstance(shapes, Shapes) or not shapes.visible or record_of(shapes) is not None:
            continue
        kinds = np.flatnonzero(np.array(shapes.shape_type) == "rectangle")
        if len(kinds) and shapes.ndim == layer.ndim:
            corners = shapes.data[kinds[-1]]
            places = np.array([layer.world_to_data(shapes.data_to_world(corner)) for corner in corners])
            return places.min(axis=0), places.max(axis=0)
    return None


def _shown(viewer: ViewerModel, layer: Image) -> tuple[Any, Any]:
    """Return the corners of the visible part, in pixels of the slide."""
    middle = np.asarray(viewer.scene.camera.center[-2:], float)
    half = np.asarray(viewer.canvas.size, float) / (2 * max(float(viewer.scene.camera.zoom), 1e-9))
    corners = [middle + half * (y, x) for y in (-1, 1) for x in (-1, 1)]
    places = np.array([layer.world_to_data(corner) for corner in corners])
    return places.min(axis=0), places.max(axis=0)
