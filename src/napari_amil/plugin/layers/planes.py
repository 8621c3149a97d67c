"""The displayed plane of an image layer, as its file or as an array for the worker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from napari.components import ViewerModel
from napari.layers import Image

from napari_amil.core.base.errors import AmilError, ImageError
from napari_amil.core.images.read import EXTENSIONS, page_sizes
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
        The samples, not rescaled; those of a lazy layer (dask, Zarr) are lazy.
    place
        Index along the leading axes of a stack; ``()`` for a single image.
    layer
        Layer of the plane.
    """

    pixels: Any
    place: tuple[int, ...]
    layer: Image

    @property
    def name(self) -> str:
        """Name for tables: that of the file, else of the layer; a stack adds the number of the plane."""
        return image_name(self.layer, self.place)

    def at(self, place: tuple[int, ...]) -> Plane:
        """Return another plane of the same stack."""
        return plane_at(self.layer, place)

    def record(self) -> CellRecord:
        """Return an empty record for cells on this plane."""
        height, width = self.pixels.shape[:2]
        return CellRecord(str(self.layer.unique_id), self.name, self.place, (height, width))

    def input(self, folder: Path) -> dict[str, Any]:
        """Return the fields of a `FieldInput` of the worker; an array is written into ``folder``.

        Where the layer was opened from a file, the worker reads that file, as the command line does. Only
        RGB with 8 bits goes as it is, since it can be read in one way alone. The worker judges
        other arrays by the rules for files.
        """
        source = source_of(self.layer)
        found: dict[str, Any] = {"name": self.name, "source": source}
        page = None if _is_plain(self.pixels) else file_page(self.layer, self.place, self.pixels.shape[:2])
        if page is not None:
            return found | {"image": source, "page": page}
        return found | {"image": self._write(folder)}

    def _write(self, folder: Path) -> Path:
        """Write the array; of a large lazy plane no more than a band of rows is ever in memory."""
        pixels = self.pixels
        if isinstance(pixels, np.ndarray) or math.prod(pixels.shape[:2]) <= LARGE_PX:
            path = folder / "image.npy"
            np.save(path, np.ascontiguousarray(pixels), allow_pickle=False)
            return path
        path = folder / "image.tif"
        colour: dict[str, Any] = {"photometric": "minisblack"}
        if pixels.ndim == 3:
            alpha = ["unassalpha"] if pixels.shape[2] == 4 else None
            colour = {"photometric": "rgb", "extrasamples": alpha}
        stored = tifffile.memmap(path, shape=pixels.shape, dtype=pixels.dtype, **colour)
        for row in range(0, pixels.shape[0], _BAND_PX):
            stored[row : row + _BAND_PX] = np.asarray(pixels[row : row + _BAND_PX])
        stored.flush()
        return path


def source_of(layer: Image) -> Path | None:
    """Return the file that a layer was opened from."""
    path = getattr(layer.source, "path", None)
    return Path(path) if path else None


def file_page(layer: Image, place: tuple[int, ...], shape: tuple[int, ...]) -> int | None:
    """Return the page of its file that a plane of a layer shows; None if it is not from an image file."""
    source = source_of(layer)
    if source is None or source.suffix.lower() not in EXTENSIONS or not source.is_file():
        return None
    try:
        sizes = page_sizes(source)
    except AmilError:
        return 0  # the worker reads it too, and says why it cannot be used
    lead = stack_of(layer).shape[: len(place)]
    page = int(np.ravel_multi_index(place, lead)) if place else 0
    fits = len(sizes) == math.prod(lead) and tuple(sizes[page]) == tuple(shape)
    return page if fits else None


def stack_of(layer: Image) -> Any:  # noqa: ANN401 - an array of any kind
    """Return the array of a layer, of a pyramid its finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def _is_plain(pixels: Any) -> bool:  # noqa: ANN401
    return bool(pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3)


def image_name(layer: Image, place: tuple[int, ...]) -> str:
    """Return the name of one plane of ``layer`` in tables."""
    path = getattr(layer.source, "path", None)
    base = Path(path).name if path else str(layer.name)
    return "#".join([base, *(str(index + 1) for index in place)])


def plane_at(layer: Image, place: tuple[int, ...]) -> Plane:
    """Return the plane of ``layer`` at an index along its leading axes, shown or not."""
    stack = stack_of(layer)
    return Plane(stack[place] if place else stack, place, layer)


def shown_plane(viewer: ViewerModel, layer: Image) -> Plane:
    """Return the plane of ``layer`` that the viewer shows.

    Raises
    ------
    ImageError
        If the plane is too small, or is turned away from the viewer.
    """
    if viewer.dims.ndisplay != 2:
        raise ImageError("The view is in 3D; switch to 2D (the button below the layer list) and try again.")
    if layer.ndim > 2 and tuple(viewer.dims.displayed) != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
        raise ImageError(
            "The axes of the view are rolled; show the last two axes of the image and try again."
        )
    plane = plane_at(layer, shown_place(viewer, layer))
    height, width = plane.pixels.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise ImageError(f"The image '{layer.name}' is only {width} x {height} pixels; choose a whole field.")
    return plane


def frame_elsewhere(viewer: ViewerModel, record: CellRecord) -> str:
    """Return a sentence where the cells of ``record`` lie on another frame than the one that is shown."""
    image = next((i for i in viewer.layers if str(i.unique_id) == record.image_id), None)
    if not record.place or not isinstance(image, Image) or shown_place(viewer, image) == record.place:
        return ""
    frame = ", ".join(str(index + 1) for index in record.place)
    return f"These cells lie on frame {frame}, which is not shown; go there for their verdict."


def shown_place(viewer: ViewerModel, layer: Image) -> tuple[int, ...]:
    """Return the index along the leading axes of ``layer`` of the plane that the viewer shows."""
    n_lead = layer.ndim - 2
    if not n_lead:
        return ()
    stack = stack_of(layer)
    point = np.asarray(layer.world_to_data(viewer.dims.point[-layer.ndim :]), float)
    limits = np.array(stack.shape[:n_lead])
    return tuple(int(index) for index in np.clip(np.rint(point[:n_lead]), 0, limits - 1))
