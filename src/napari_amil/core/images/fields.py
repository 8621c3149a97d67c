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

from napari_amil.core.base.errors import ImageError, MissingExtraError
from napari_amil.core.base.optional import optional
from napari_amil.core.base.types import Image
from napari_amil.core.images import decode
from napari_amil.core.images.pixel_size import tiff_pixel_um, zarr_pixel_um
from napari_amil.core.images.read import broken_sentence, check_page, is_tiff, is_zarr, read_image

WHOLE_PX = 12_000_000
"""A field with at most this many pixels is treated in one piece, a larger one tile by tile."""
_SAMPLES_PER_SIDE = 5  # windows from which light, stain and size of the cells are estimated
_SAMPLE_PX = 512
_BAND_PX = 2048  # strips with more rows than this cannot be read without reading the whole image

Window = tuple[slice, slice]


class Field(Protocol):
    """An image of any size."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def pixel_um(self) -> float | None:
        """Side of a pixel in micrometres as the file says it, None where it does not."""

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part ``(h, w, 3)`` uint8, RGB."""


@dataclass(frozen=True, eq=False)
class ArrayField:
    """An image ``(height, width, 3)`` uint8, RGB, in memory or mapped into it."""

    image: Image
    pixel_um: float | None = None

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
        What is sliced like an array; of its axes ``axes`` all but Y, X and the colours are pages.
    axes
        A letter for each axis: Y, X, S or C for colours.
    page
        Number of the field among the pages.
    keyframe
        The description of a TIFF page, None for Zarr.
    path, pixel_um
        Where it lies, and the side of a pixel in micrometres.
    """

    def __init__(
        self,
        stored: Any,  # noqa: ANN401
        axes: str,
        page: int,
        keyframe: Any = None,  # noqa: ANN401
        *,
        path: Path,
        pixel_um: float | None,
    ) -> None:
        self._stored, self._axes, self._keyframe, self._path = stored, axes, keyframe, path
        self.pixel_um = pixel_um
        sizes = dict(zip(axes, stored.shape, strict=True))
        self.shape = int(sizes["Y"]), int(sizes["X"])
        field = {"Y", "X", decode.colour_axis(axes, stored.shape)}
        lead = [axis for axis in axes if axis not in field]
        place = np.unravel_index(page, [sizes[axis] for axis in lead]) if lead else ()
        self._place = {axis: int(index) for axis, index in zip(lead, place, strict=True)}
        self._by_rows = _is_in_strips(stored, axes)
        self._band: tuple[slice, NDArray[Any]] | None = None
        self._full_scale = decode.BYTE_SCALE
        if stored.dtype == np.uint16:
            brightest = max(int(self._raw(*part).max()) for part in sample_windows(self.shape))
            self._full_scale = decode.full_scale(brightest)

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part ``(h, w, 3)`` uint8, RGB.

        Raises
        ------
        ImageError
            If the file is damaged there, or its numbers have no clear way to RGB.
        """
        try:
            samples = decode.samples_of(self._raw(rows, columns), self._keyframe)
            return decode.to_rgb(samples, self._full_scale)
        except decode.UnusableError as error:
            raise ImageError(f"The image '{self._path}' {error}") from error
        except decode.BROKEN as error:
            raise ImageError(broken_sentence(self._path, error)) from error

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
        return decode.arrange(values, kept, 0)


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
        try:
            field = _opened(path, page, open_files)
        except decode.UnusableError as error:
            raise ImageError(f"The image '{path}' {error}") from error
        except decode.BROKEN as error:
            raise ImageError(broken_sentence(path, error)) from error
        yield field


def _opened(path: Path, page: int, open_files: ExitStack) -> Field:
    if is_zarr(path):
        return _zarr_field(path)
    if not is_tiff(path):
        return ArrayField(read_image(path, page))
    tif = open_files.enter_context(tifffile.TiffFile(path))
    frames = decode.tiff_frames(tif)
    check_page(page, len(frames))
    return _tiff_field(tif, path, page, *frames[page])


def as_field(image: Image | Field) -> Field:
    """Return what can be read window by window: a field as it is, an image ``(height, width, 3)`` as one."""
    return ArrayField(image) if isinstance(image, np.ndarray) else image


def is_large(shape: tuple[int, ...]) -> bool:
    """Return whether a field of ``shape`` (height, width) is treated tile by tile."""
    return shape[0] * shape[1] > WHOLE_PX


def pixel_um_of(path: Path) -> float | None:
    """Return the side of a pixel of an image in micrometres, None where the file does not tell it."""
    try:
        if is_zarr(path):
            return _zarr_field(path).pixel_um
        if not is_tiff(path):
            return None
        with tifffile.TiffFile(path) as tif:
            return tiff_pixel_um(tif)
    except decode.UnusableError:
        return None
    except decode.BROKEN:
        return None


def sample_windows(shape: tuple[int, int]) -> list[Window]:
    """Return windows spread evenly over a field, the whole field where it is small."""
    starts = []
    for length in shape:
        n = min(_SAMPLES_PER_SIDE, -(-length // _SAMPLE_PX))
        starts.append(np.linspace(0, max(length - _SAMPLE_PX, 0), n).astype(int).tolist())
    height, width = shape
    return [
        (slice(y, min(y + _SAMPLE_PX, height)), slice(x, min(x + _SAMPLE_PX, width)))
        for y in starts[0]
        for x in starts[1]
    ]


def sampled_pixels(field: Field) -> Image:
    """Return the pixels of a field, of a large one those of windows spread over it, one below the other."""
    height, width = field.shape
    if not is_large(field.shape):
        return field.window(slice(0, height), slice(0, width))
    return np.concatenate([field.window(*window) for window in sample_windows(field.shape)])


def _tiff_field(
    tif: tifffile.TiffFile, path: Path, page: int, series: tifffile.TiffPageSeries, index: int
) -> Field:
    pixel_um = tiff_pixel_um(tif)
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if not is_large((sizes["Y"], sizes["X"])):
        return ArrayField(read_image(path, page), pixel_um)
    decode.check_lazy(tif, series)
    keyframe = series.keyframe
    if series.dataoffset is not None:  # uncompressed and in one piece
        stored: Any = _MappedFile(
            path, series.dataoffset, series.shape, np.dtype(tif.byteorder + series.dtype.char)
        )
    else:
        try:
            stored = _chunked(series)
        except (MissingExtraError, decode.UnusableError):
            if sizes["Y"] * sizes["X"] > decode.MAX_PIXELS:
                raise
            return ArrayField(read_image(path, page), pixel_um)
    return StoredField(stored, series.axes, index, keyframe, path=path, pixel_um=pixel_um)


def _chunked(series: tifffile.TiffPageSeries) -> Any:  # noqa: ANN401
    """Return a compressed series of which parts can be decoded."""
    stored = optional("zarr").open(series.aszarr(level=0), mode="r")
    if _is_in_strips(stored, series.axes) and stored.chunks[series.axes.index("Y")] > _BAND_PX:
        raise decode.UnusableError("is compressed in one piece; save it as a tiled TIFF or as Zarr.")
    return stored


def _zarr_field(path: Path) -> Field:
    opened = optional("zarr").open(str(path), mode="r")
    attributes = dict(opened.attrs)
    described = attributes.get("ome", attributes).get("multiscales")
    pixel_um, axes = None, ""
    if described:
        first = described[0]["datasets"][0]
        axes = "".join(str(axis["name"]) for axis in described[0].get("axes", [])).upper()
        pixel_um = zarr_pixel_um(described[0])
        opened = opened[first["path"]]
    if not hasattr(opened, "shape"):
        raise decode.UnusableError("holds no OME-Zarr image; give the folder of one array or of an OME-Zarr.")
    axes = axes or _guessed_axes(opened.shape)
    decode.check_zarr(opened.dtype, axes, opened.shape)
    n_planes = _n_fields(axes, opened.shape)
    if n_planes != 1:
        raise decode.UnusableError(f"holds {n_planes} planes; save the one to look at as a Zarr of its own.")
    return StoredField(opened, axes, 0, path=path, pixel_um=pixel_um)


def _guessed_axes(shape: tuple[int, ...]) -> str:
    """Return the axes of an array that does not name them: colours last, or first if there are three."""
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3 and shape[2] in {3, 4}:
        return "YXS"
    if len(shape) == 3 and shape[0] == 3:
        return "CYX"
    raise decode.UnusableError(f"has the shape {shape}; give (height, width, 3) or OME-Zarr.")


def _n_fields(axes: str, shape: tuple[int, ...]) -> int:
    """Return the number of pages of an array."""
    spatial = {"Y", "X", decode.colour_axis(axes, shape)}
    sizes = [size for axis, size in zip(axes, shape, strict=True) if axis not in spatial]
    return int(np.prod(sizes, dtype=np.int64))


def _is_in_strips(stored: Any, axes: str) -> bool:  # noqa: ANN401
    """Return whether reading a part of a row decodes the whole row."""
    chunks = stored.chunks
    across = axes.index("X")
    return chunks is not None and stored.shape[across] > _SAMPLE_PX and chunks[across] >= stored.shape[across]


def _covers(band: slice, rows: slice) -> bool:
    return bool(band.start <= rows.start and rows.stop <= band.stop)
