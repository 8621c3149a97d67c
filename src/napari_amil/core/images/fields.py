"""Fields that are read window by window, so that memory does not depend on their size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError, MissingExtraError
from napari_amil.core.base.optional import optional
from napari_amil.core.base.types import Image
from napari_amil.core.images import refusals
from napari_amil.core.images.ome_zarr import is_zarr, open_zarr
from napari_amil.core.images.pixel_size import PixelSize
from napari_amil.core.images.read import check_page, is_tiff, read_samples
from napari_amil.core.images.refusals import UnusableError, reading
from napari_amil.core.images.samples import (
    Levels,
    Samples,
    check_numbers,
    sample_windows,
    to_rgb,
    with_alpha,
)
from napari_amil.core.images.tiff import (
    arrange,
    check_tiff,
    colour_axis,
    open_tiff,
    samples_of,
    tiff_frames,
    tiff_pixel_size,
)

WHOLE_PX = 12_000_000
"""A field with at most this many pixels is treated in one piece, a larger one tile by tile."""
_STRIP_PX = 512  # images up to this width are read in whole rows without loss
_BAND_PX = 2048  # strips with more rows than this cannot be read without reading the whole image


class Field(Protocol):
    """An image of any size."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def pixel_um(self) -> float | None:
        """Side of a pixel in micrometres as the file says it, None where it does not."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Peculiarities of the file, each the rest of a sentence that begins with its name."""

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part ``(h, w, 3)`` uint8, RGB."""


@dataclass(frozen=True, eq=False)
class ArrayField:
    """An image ``(height, width, 3)`` uint8, RGB, in memory or mapped into it."""

    image: Image
    pixel_um: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part of the image."""
        return np.asarray(self.image[rows, columns])


class StoredField:
    """One page of a TIFF, or a Zarr array, of which only the wanted part is read and decoded.

    Parameters
    ----------
    stored
        Array-like that is sliced; of its axes ``axes`` all but Y, X and the colours are pages.
    axes
        A letter for each axis: Y, X, S or C for colours.
    page
        Number of the field among the pages.
    keyframe
        The description of a TIFF page, None for Zarr.
    path, pixel_size
        Path of the file, and the side of a pixel.
    """

    def __init__(
        self,
        stored: Any,  # noqa: ANN401
        axes: str,
        page: int,
        keyframe: Any = None,  # noqa: ANN401
        *,
        path: Path,
        pixel_size: PixelSize,
    ) -> None:
        self._stored, self._axes, self._keyframe, self._path = stored, axes, keyframe, path
        sizes = dict(zip(axes, stored.shape, strict=True))
        self.shape = int(sizes["Y"]), int(sizes["X"])
        field = {"Y", "X", colour_axis(axes, stored.shape)}
        lead = [axis for axis in axes if axis not in field]
        place = np.unravel_index(page, [sizes[axis] for axis in lead]) if lead else ()
        self._place = {axis: int(index) for axis, index in zip(lead, place, strict=True)}
        self._by_rows = _is_in_strips(stored, axes)
        self._band: tuple[slice, NDArray[Any]] | None = None
        self._levels = Levels()
        if stored.dtype != np.uint8:
            self._levels = Levels.from_samples(self._samples(*part) for part in sample_windows(self.shape))
        self.pixel_um = pixel_size.um
        self.notes = _notes(self._levels, pixel_size)

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part ``(h, w, 3)`` uint8, RGB.

        Raises
        ------
        ImageError
            If the file is damaged there, or its numbers have no clear way to RGB.
        """
        with reading(self._path):
            return to_rgb(self._samples(rows, columns), self._levels)

    def _samples(self, rows: slice, columns: slice) -> Samples:
        return samples_of(self._raw(rows, columns), self._keyframe)

    def _raw(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return stored samples ``(h, w, n)``; files in strips keep the last rows that were decoded."""
        if not self._by_rows:
            return self._sliced(rows, columns)
        if self._band is None or not _covers(self._band[0], rows):
            self._band = None  # before the next is read, so that there are never two
            self._band = rows, self._sliced(rows, slice(0, self.shape[1]))
        first = self._band[0].start
        return self._band[1][rows.start - first : rows.stop - first, columns]

    def _sliced(self, rows: slice, columns: slice) -> NDArray[Any]:
        index = {**self._place, "Y": rows, "X": columns}
        values = np.asarray(self._stored[tuple(index.get(axis, slice(None)) for axis in self._axes)])
        kept = "".join(axis for axis in self._axes if axis not in self._place)
        return arrange(values, kept, 0)


class _MappedFile:
    """An uncompressed TIFF page; each slice is mapped and let go, so that memory does not fill up."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._path, self._offset, self._stored_dtype = path, offset, dtype
        self.shape, self.dtype, self.chunks = shape, dtype.newbyteorder("="), None

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401
        whole = np.memmap(self._path, self._stored_dtype, "r", self._offset, self.shape)
        return np.array(whole[index], dtype=self.dtype)


@contextmanager
def open_field(path: Path, page: int = 0) -> Iterator[Field]:
    """Yield one field of a file: small ones in memory, large TIFF and Zarr ones read window by window.

    Raises
    ------
    ImageError
        If the file cannot be read or used; the sentence names it, the reason and the remedy.
    MissingExtraError
        If a large compressed TIFF or a Zarr is given and Zarr is not installed.
    """
    with ExitStack() as open_files:
        with reading(path):
            field = _opened(path, page, open_files)
        yield field


def _opened(path: Path, page: int, open_files: ExitStack) -> Field:
    if is_zarr(path):
        return _zarr_field(path)
    if not is_tiff(path):
        return _array_field(path, page, PixelSize())
    tif = open_files.enter_context(open_tiff(path))
    frames = tiff_frames(tif)
    check_page(page, len(frames))
    return _tiff_field(tif, path, page, *frames[page])


def as_field(image: NDArray[Any] | Field) -> Field:
    """Return an image as a field, which is read window by window.

    Arrays are ``(height, width)`` or ``(height, width, n_channels)`` of any number type; those that are
    not RGB with 8 bits are treated as the same samples in a file.

    Raises
    ------
    ImageError
        If the numbers have no clear way to RGB.
    """
    if not isinstance(image, np.ndarray):
        return image
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return ArrayField(image)
    with reading(Path("array")):
        check_numbers(image.dtype)
        return _from_samples(with_alpha(image), PixelSize())


def is_large(shape: tuple[int, ...]) -> bool:
    """Return whether a field of ``shape`` (height, width) is treated tile by tile."""
    return shape[0] * shape[1] > WHOLE_PX


def pixel_um_of(path: Path) -> float | None:
    """Return the side of a pixel of an image in micrometres, None where the file does not tell it."""
    try:
        with reading(path):
            if is_zarr(path):
                return open_zarr(path).pixel_size.um
            if not is_tiff(path):
                return None
            with open_tiff(path) as tif:
                return tiff_pixel_size(tif).um
    except AmilError:
        return None


def sampled_pixels(field: Field) -> Image:
    """Return the pixels of a field, of a large one those of windows spread over it, one below the other."""
    height, width = field.shape
    if not is_large(field.shape):
        return field.window(slice(0, height), slice(0, width))
    return np.concatenate([field.window(*window) for window in sample_windows(field.shape)])


def _array_field(path: Path, page: int, pixel_size: PixelSize) -> ArrayField:
    return _from_samples(read_samples(path, page), pixel_size)


def _from_samples(samples: Samples, pixel_size: PixelSize) -> ArrayField:
    levels = Levels.from_image(samples)
    return ArrayField(to_rgb(samples, levels), pixel_size.um, _notes(levels, pixel_size))


def _notes(levels: Levels, pixel_size: PixelSize) -> tuple[str, ...]:
    return tuple(note for note in (levels.note, pixel_size.note) if note)


def _tiff_field(
    tif: tifffile.TiffFile, path: Path, page: int, series: tifffile.TiffPageSeries, index: int
) -> Field:
    size = tiff_pixel_size(tif)
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if not is_large((sizes["Y"], sizes["X"])):
        return _array_field(path, page, size)
    check_tiff(tif, series)
    keyframe = series.keyframe
    if series.dataoffset is not None:  # uncompressed and in one piece
        stored: Any = _MappedFile(
            path, series.dataoffset, series.shape, np.dtype(tif.byteorder + series.dtype.char)
        )
    else:
        try:
            stored = _chunked(series)
        except (MissingExtraError, UnusableError):
            if sizes["Y"] * sizes["X"] > refusals.MAX_PIXELS:
                raise
            return _array_field(path, page, size)
    return StoredField(stored, series.axes, index, keyframe, path=path, pixel_size=size)


def _chunked(series: tifffile.TiffPageSeries) -> Any:  # noqa: ANN401
    """Return a compressed series of which parts can be decoded."""
    stored = optional("zarr").open(series.aszarr(level=0), mode="r")
    if _is_in_strips(stored, series.axes) and stored.chunks[series.axes.index("Y")] > _BAND_PX:
        raise UnusableError("is compressed in one piece; save it as a tiled TIFF or as Zarr.")
    return stored


def _zarr_field(path: Path) -> Field:
    image = open_zarr(path)
    return StoredField(image.array, image.axes, 0, path=path, pixel_size=image.pixel_size)


def _is_in_strips(stored: Any, axes: str) -> bool:  # noqa: ANN401
    """Return whether reading a part of a row decodes the whole row."""
    chunks = stored.chunks
    across = axes.index("X")
    return chunks is not None and stored.shape[across] > _STRIP_PX and chunks[across] >= stored.shape[across]


def _covers(band: slice, rows: slice) -> bool:
    return bool(band.start <= rows.start and rows.stop <= band.stop)
