"""The displayed plane of an image layer, as an array and as a file for the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray

from napari_amil.core.base.errors import ImageError
from napari_amil.plugin.layers.rows import CellRecord

MIN_SIDE_PX = 32
LARGE_PX = 12_000_000
"""A lazy plane with more pixels stays where it is, and is written in bands of rows."""
_BAND_PX = 512


@dataclass(frozen=True, eq=False)
class Plane:
    """One field as it lies in its layer: ``(h, w)`` grey or ``(h, w, 3 or 4)`` RGB(A), of any number type.

    Parameters
    ----------
    pixels
        The samples, not rescaled; a large plane of a lazy layer (dask, Zarr) is lazy.
    place
        Index along the leading axes of a stack; ``()`` for a single image.
    layer
        Where it lies.
    """

    pixels: NDArray[Any]
    place: tuple[int, ...]
    layer: Image

    @property
    def name(self) -> str:
        """Name for tables: that of the file, else of the layer; a stack adds the number of the plane."""
        return image_name(self.layer, self.place)

    def at(self, place: tuple[int, ...]) -> Plane:
        """Return another plane of the same stack."""
        stack = self.layer.data[0] if self.layer.multiscale else self.layer.data
        return Plane(_samples(stack[place], self.layer.name), place, self.layer)

    def record(self) -> CellRecord:
        """Return an empty record for cells on this plane."""
        height, width = self.pixels.shape[:2]
        return CellRecord(str(self.layer.unique_id), self.name, self.place, (height, width))

    def write(self, folder: Path) -> Path:
        """Write the plane as a file that the worker reads by the same rules as any image file.

        RGB with 8 bits goes as it is; grey, alpha and 16 bits are left to the reader of images, and so
        is a lazy plane, of which no more than a band of rows is ever in memory.
        """
        pixels = self.pixels
        lazy = not isinstance(pixels, np.ndarray)
        if not lazy and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
            path = folder / "image.npy"
            np.save(path, np.ascontiguousarray(pixels))
            return path
        path = folder / "image.tif"
        colour: dict[str, Any] = {"photometric": "minisblack"}
        if pixels.ndim == 3:
            alpha = ["unassalpha"] if pixels.shape[2] == 4 else None
            colour = {"photometric": "rgb", "extrasamples": alpha}
        if lazy:
            stored = tifffile.memmap(path, shape=pixels.shape, dtype=pixels.dtype, **colour)
            for row in range(0, pixels.shape[0], _BAND_PX):
                stored[row : row + _BAND_PX] = np.asarray(pixels[row : row + _BAND_PX])
            stored.flush()
            return path
        tifffile.imwrite(path, np.ascontiguousarray(pixels), **colour)
        return path


def image_name(layer: Image, place: tuple[int, ...]) -> str:
    """Return the name of one plane of ``layer`` in tables."""
    path = getattr(layer.source, "path", None)
    base = Path(path).name if path else str(layer.name)
    return "#".join([base, *(str(index + 1) for index in place)])


def plane_at(layer: Image, place: tuple[int, ...]) -> Plane:
    """Return the plane of ``layer`` at an index along its leading axes, shown or not.

    Raises
    ------
    ImageError
        If its values have an unknown meaning.
    """
    stack = layer.data[0] if layer.multiscale else layer.data
    return Plane(_samples(stack[place] if place else stack, layer.name), place, layer)


def shown_plane(viewer: ViewerModel, layer: Image) -> Plane:
    """Return the plane of ``layer`` that the viewer shows.

    Raises
    ------
    ImageError
        If the plane is too small, is turned away from the viewer, or has values of unknown meaning.
    """
    if viewer.dims.ndisplay != 2:
        raise ImageError("The view is in 3D; switch to 2D (the button below the layer list) and try again.")
    stack = layer.data[0] if layer.multiscale else layer.data
    if layer.ndim > 2 and tuple(viewer.dims.displayed) != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
        raise ImageError(
            "The axes of the view are rolled; show the last two axes of the image and try again."
        )
    place = shown_place(viewer, layer)
    pixels = stack[place] if place else stack
    if min(pixels.shape[:2]) < MIN_SIDE_PX:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ImageError(f"The image '{layer.name}' is only {size} pixels; choose a whole field.")
    return Plane(_samples(pixels, layer.name), place, layer)


def shown_place(viewer: ViewerModel, layer: Image) -> tuple[int, ...]:
    """Return the index along the leading axes of ``layer`` of the plane that the viewer shows."""
    n_lead = layer.ndim - 2
    if not n_lead:
        return ()
    stack = layer.data[0] if layer.multiscale else layer.data
    point = np.asarray(layer.world_to_data(viewer.dims.point[-layer.ndim :]), float)
    limits = np.array(stack.shape[:n_lead])
    return tuple(int(index) for index in np.clip(np.rint(point[:n_lead]), 0, limits - 1))


def _samples(pixels: Any, name: str) -> Any:  # noqa: ANN401
    """Return the samples of a plane: lazy ones of a large plane as they are, others in memory."""
    integers = pixels.dtype in (np.uint8, np.uint16)
    if integers and pixels.shape[0] * pixels.shape[1] > LARGE_PX and not isinstance(pixels, np.ndarray):
        return pixels
    return _readable(np.asarray(pixels), name)


def _readable(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return samples that the reader of images understands: 8 or 16 bits without a sign, or float32."""
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    if np.issubdtype(pixels.dtype, np.floating) and low >= 0 and np.isfinite(pixels).all():
        if high <= 1:
            return np.rint(pixels * 255).astype(np.uint8)
        if high <= np.iinfo(np.uint16).max:
            return pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer) and low >= 0 and high <= np.iinfo(np.uint16).max:
        return pixels.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
    raise ImageError(
        f"The image '{name}' has values from {low:g} to {high:g}; save it as 8-bit or 16-bit and open that."
    )
