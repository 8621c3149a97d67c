"""Decode PNG, JPEG and TIFF into samples of known meaning, and those into RGB with 8 bits."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from napari_amil.core.base.types import Image

MAX_PIXELS = 80_000_000
"""Largest field in pixels, about 9,000 x 9,000; larger ones are read window by window or refused."""
MIN_SIDE_PX = 32
"""Smallest side of a field in pixels."""
BYTE_SCALE = 255
"""Full scale of samples with 8 bits."""
FULL_SCALES = (2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
"""Full scales of the cameras that write 16-bit files."""
BROKEN: tuple[type[Exception], ...] = (
    *(OSError, ValueError, RuntimeError, SyntaxError, EOFError, MemoryError, LookupError, TypeError),
    *(ArithmeticError, AttributeError, AssertionError, struct.error, zlib.error),
    PIL.Image.DecompressionBombError,
)
"""What the decoding libraries raise on damaged files."""

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints become our one sentence

Alpha = Literal["none", "straight", "premultiplied"]


class UnusableError(Exception):
    """Why an image is refused: the rest of a sentence that begins with the name of the file."""


@dataclass(frozen=True)
class Samples:
    """Decoded samples ``(h, w, n)``, grey or RGB, followed by one alpha channel if there is one."""

    values: NDArray[Any]
    alpha: Alpha = "none"


def check_size(height: int, width: int) -> None:
    """Refuse a field that is too small to hold cells or too large to be one field.

    Raises
    ------
    UnusableError
        If a side is below `MIN_SIDE_PX` or the area above `MAX_PIXELS`.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise UnusableError(
            f"is only {width} x {height} pixels; give a field with sides of at least {MIN_SIDE_PX} pixels."
        )
    if height * width > MAX_PIXELS:
        raise UnusableError(
            f"has {width} x {height} pixels, more than {MAX_PIXELS:,}; save it as a tiled TIFF or as Zarr to "
            "detect and score its cells, or cut it into smaller fields."
        )


def decode_jpeg_or_png(path: Path) -> Samples:
    """Return the samples of a JPEG or PNG; the EXIF orientation is not applied, as in napari.

    Palettes are looked up; CMYK is refused, since its colours depend on an ink profile.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        with PIL.Image.open(path, formats=("PNG", "JPEG")) as file:
            check_size(file.height, file.width)
            if _png_bits(path) == 16:
                return _with_alpha(np.asarray(imagecodecs.png_decode(path.read_bytes())))
            indexed = file.mode in {"P", "PA"} or "transparency" in file.info
            image = file.convert("RGBA") if indexed else file
            if image.mode not in {"L", "LA", "RGB", "RGBA"}:
                raise UnusableError(
                    f"has the colour mode {image.mode}, not grey or RGB; save it as RGB with 8 bits."
                )
            return _with_alpha(np.asarray(image))


def tiff_frames(tif: tifffile.TiffFile) -> list[tuple[tifffile.TiffPageSeries, int]]:
    """Return one ``(series, index)`` per page; smaller copies of an image do not count as pages."""
    full = [series for series in tif.series if not series.keyframe.is_reduced]
    return [(series, i) for series in full or tif.series for i in range(_n_frames(series))]


def decode_tiff(tif: tifffile.TiffFile, page: int) -> Samples:
    """Return the samples of one page; ``(3, h, w)`` counts as RGB where the file says so.

    Colours are the axis S (samples), or an axis C (channels) of three planes; all other axes beside
    Y and X count pages.
    """
    series, index = tiff_frames(tif)[page]
    first = series.keyframe
    axes, shape = series.axes, series.shape
    check_size(shape[axes.index("Y")], shape[axes.index("X")])
    _check_tiff_format(first, series.dtype)
    _check_complete(tif, series)
    single = series[index] if len(series) == _n_frames(series) else None
    if single is not None:
        values = arrange(single.asarray(), first.axes, 0)
    else:
        values = arrange(series.asarray(), axes, index)
    return samples_of(values, first)


def samples_of(values: NDArray[Any], keyframe: Any) -> Samples:  # noqa: ANN401
    """Return what stored values ``(h, w, n)`` mean by the description of a TIFF page, None for Zarr."""
    if keyframe is None:
        return _with_alpha(values)
    if keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE and keyframe.colormap is not None:
        looked_up = keyframe.colormap[:, values[..., 0]]
        return Samples(np.moveaxis(looked_up >> 8, 0, -1).astype(np.uint8))
    if keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        values = np.iinfo(values.dtype).max - values
    extra = int(keyframe.extrasamples[0]) if keyframe.extrasamples else 0
    declared: dict[int, Alpha] = {1: "premultiplied", 2: "straight"}
    if extra in declared:
        return Samples(values, declared[extra])
    undeclared = values.shape[2] in {2, 4} and len(keyframe.extrasamples) == 1
    return Samples(values[..., :-1] if undeclared else values)


def check_lazy(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Refuse a large TIFF image whose windows could not be brought to RGB, or that is cut short.

    Raises
    ------
    UnusableError
        With the reason and the remedy.
    """
    _check_tiff_format(series.keyframe, series.dtype)
    _check_complete(tif, series)


def check_zarr(dtype: np.dtype[Any], axes: str, shape: tuple[int, ...]) -> None:
    """Refuse a Zarr array that is no image with 8 or 16 bits, or too small to hold cells.

    Raises
    ------
    UnusableError
        With the reason and the remedy.
    """
    if not {"Y", "X"} <= set(axes) or len(axes) != len(shape):
        raise UnusableError(f"has the axes '{axes}' for the shape {shape}; it needs y and x.")
    if dtype not in (np.uint8, np.uint16):
        raise UnusableError(
            f"holds numbers of the type {dtype.name}; save it with 8 or 16 bits without a sign."
        )
    if min(shape[axes.index("Y")], shape[axes.index("X")]) < MIN_SIDE_PX:
        raise UnusableError(f"is smaller than {MIN_SIDE_PX} pixels; give a whole field.")


def to_rgb(samples: Samples, scale: int | None = None) -> Image:
    """Return ``(h, w, 3)`` uint8: grey in three equal channels, alpha composited on white.

    Samples with 16 bits are divided by ``scale``, or by the smallest full scale of 10, 12, 14 or 16
    bits that holds the maximum of the image: cameras with 12 bits leave the upper bits of 16-bit
    files empty. A window of an image has the ``scale`` of the whole, and may be wholly transparent.
    """
    values = samples.values
    n_colours = values.shape[2] - (samples.alpha != "none")
    if n_colours not in {1, 3}:
        raise UnusableError(f"has {n_colours} colour channels; save it as grey, RGB or RGBA.")
    if values.dtype == np.uint8 and samples.alpha == "none":
        return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
    colour = values[..., :n_colours] / np.float32(scale or _scale_of(values[..., :n_colours]))
    if samples.alpha != "none":
        opaque = values[..., n_colours:] / np.float32(scale or _scale_of(values[..., n_colours:]))
        if scale is None and not opaque.any():
            raise UnusableError("is wholly transparent; save it without its alpha channel.")
        colour = (colour if samples.alpha == "premultiplied" else colour * opaque) + (1 - opaque)
    scaled = np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(scaled, (*values.shape[:2], 3)))


def full_scale(brightest: int) -> int:
    """Return the value that stands for white in 16-bit samples of which ``brightest`` is the largest."""
    return next(scale for scale in FULL_SCALES if brightest <= scale)


def _scale_of(values: NDArray[Any]) -> int:
    """Return the value that stands for white in samples with 8 or 16 bits."""
    return BYTE_SCALE if values.dtype == np.uint8 else full_scale(int(values.max()))


def _with_alpha(values: NDArray[Any]) -> Samples:
    """Return samples whose second or fourth channel is a straight alpha, as PNG defines it."""
    if values.ndim == 2:
        values = values[..., None]
    return Samples(values, "straight" if values.shape[2] in {2, 4} else "none")


def _png_bits(path: Path) -> int:
    """Return the bits per sample that a PNG declares, 0 for other files."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24] if head.startswith(b"\x89PNG") else 0


def colour_axis(axes: str, shape: tuple[int, ...]) -> str:
    """Return the letter of the axis that holds colours, or nothing: S, or a C of three planes."""
    if "S" in axes:
        return "S"
    return "C" if "C" in axes and shape[axes.index("C")] == 3 else ""


def _n_frames(series: tifffile.TiffPageSeries) -> int:
    """Return the number of fields in a series."""
    spatial = {"Y", "X", colour_axis(series.axes, series.shape)}
    sizes = [size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in spatial]
    return int(np.prod(sizes, dtype=np.int64))


def arrange(array: NDArray[Any], axes: str, index: int) -> NDArray[Any]:
    """Return field ``index`` of an array with named axes as ``(h, w, n_samples)``."""
    colour = colour_axis(axes, array.shape)
    last = "YX" + colour
    pages = [axis for axis in axes if axis not in last]
    array = np.transpose(array, [axes.index(axis) for axis in [*pages, *last]])
    if not colour:
        array = array[..., None]
    fields: NDArray[Any] = array.reshape(-1, *array.shape[-3:])
    return np.asarray(fields[index])


def _check_tiff_format(page: Any, dtype: np.dtype[Any]) -> None:  # noqa: ANN401
    """Refuse number formats and colour spaces without a clear way to RGB."""
    kind = tifffile.PHOTOMETRIC
    jpeg = page.photometric == kind.YCBCR and page.compression in {6, 7}
    known = {kind.MINISWHITE, kind.MINISBLACK, kind.RGB, kind.PALETTE}
    if page.photometric not in known and not jpeg:
        raise UnusableError(f"has the colour space {page.photometric.name}; save it as RGB with 8 bits.")
    if page.photometric == kind.PALETTE:
        return
    if dtype not in (np.uint8, np.uint16) or page.bitspersample < 8:
        raise UnusableError(
            f"holds numbers of the type {dtype.name} with {page.bitspersample} bits; "
            "save it with 8 or 16 bits without a sign."
        )


def _check_complete(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Refuse a file that ends before its pixels do: missing strips would silently read as zeros."""
    pages = [page for page in series.pages if page is not None]
    ends = (
        offset + count
        for page in pages
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    )
    if max(ends, default=0) > tif.filehandle.size:
        raise UnusableError("is cut short; copy it again from where it came.")
