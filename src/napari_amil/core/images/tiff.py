"""Decode the pages of TIFF files, and read their pixel size."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_amil.core.images.pixel_size import PixelSize, pixel_size, to_number
from napari_amil.core.images.refusals import (
    MAX_PIXELS,
    MAX_SAMPLES,
    UnusableError,
    check_claim,
    check_size,
)
from napari_amil.core.images.samples import Alpha, Samples, check_numbers, with_alpha

MAX_PAGES = 10_000
"""Largest number of pages of a file."""
_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNBOUNDED = 10**6  # ratio of codecs that store a uniform picture in a few bytes
_RATIOS = {1: 1, 5: 4_000, 7: 2_000, 8: 1_100, 32773: 128, 32946: 1_100}
"""Largest ratio of each compression scheme: none, LZW, JPEG, deflate, PackBits, deflate."""
_HEADER_BYTES = 10_000
_WHOLE_NUMBERS = ("imagewidth", "imagelength", "samplesperpixel", "bitspersample", "tilewidth", "tilelength")
_SIZES = ("SizeZ", "SizeC", "SizeT")

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints become our one sentence

Frame = tuple[tifffile.TiffPageSeries, int]
"""A series of a file, and the index of one field in it."""


def is_tiff_start(start: bytes) -> bool:
    """Return whether the first bytes of a file are those of a TIFF."""
    return start.startswith(_STARTS)


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF, of which only the pages in this very file count.

    A description (OME-XML, or that of ImageJ or tifffile) that names other files, or more planes than
    this one holds, is left out: the pages of a set of files are those of its files, each once.
    """
    tif = tifffile.TiffFile(path, _multifile=False)
    try:
        _check_n_pages(tif)
        if (tif.is_ome and not _is_believable(tif)) or _is_exaggerated(tif):
            tif.close()
            tif = tifffile.TiffFile(path, is_ome=False, is_imagej=False, is_shaped=False)
    except BaseException:
        tif.close()
        raise
    return tif


def tiff_frames(tif: tifffile.TiffFile) -> list[Frame]:
    """Return one ``(series, index)`` per page; smaller copies of an image do not count as pages.

    Raises
    ------
    UnusableError
        If the file claims more pages or pixels than it can hold.
    """
    full = [series for series in tif.series if not series.keyframe.is_reduced] or tif.series
    counts = [n_frames(series.axes, series.shape) for series in full]
    if sum(counts) > MAX_PAGES:
        raise UnusableError(f"claims {sum(counts):,} pages; at most {MAX_PAGES:,} are read from one file.")
    for series in full:
        _check_series(tif, series)
    return [(series, i) for series, count in zip(full, counts, strict=True) for i in range(count)]


def decode_tiff(tif: tifffile.TiffFile, page: int) -> Samples:
    """Return the samples of one page; ``(3, h, w)`` counts as RGB where the file says so.

    Colours are the axis S (samples), or an axis C (channels) of three planes; all other axes beside
    Y and X count pages.
    """
    series, index = tiff_frames(tif)[page]
    axes, shape = series.axes, series.shape
    check_size(shape[axes.index("Y")], shape[axes.index("X")])
    check_tiff(tif, series)
    first = series.keyframe
    if len(series) == n_frames(axes, shape):
        single = series[index]
        if single is None:
            raise UnusableError(f"holds no pixels for page {page + 1}; copy or export it again.")
        return samples_of(arrange(single.asarray(), first.axes, 0), first)
    check_claim(math.prod(shape), 4 * MAX_PIXELS, 1)
    return samples_of(arrange(series.asarray(), axes, index), first)


def samples_of(values: NDArray[Any], keyframe: Any) -> Samples:  # noqa: ANN401
    """Return stored values ``(h, w, n)`` as samples, by the tags of a TIFF page, None for Zarr."""
    if keyframe is None:
        return with_alpha(values)
    if keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE and keyframe.colormap is not None:
        looked_up = keyframe.colormap[:, values[..., 0]]
        return Samples(np.moveaxis(looked_up >> 8, 0, -1).astype(np.uint8))
    inverted = keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    extra = int(keyframe.extrasamples[0]) if keyframe.extrasamples else 0
    declared: dict[int, Alpha] = {1: "premultiplied", 2: "straight"}
    if extra in declared:
        return Samples(values, declared[extra], inverted)
    undeclared = values.shape[2] in {2, 4} and len(keyframe.extrasamples) == 1
    return Samples(values[..., :-1] if undeclared else values, inverted=inverted)


def check_tiff(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Refuse a TIFF image that has no clear way to RGB, or that is cut short.

    Raises
    ------
    UnusableError
        With the reason and the remedy.
    """
    _check_format(series.keyframe, series.dtype)
    pages = [page for page in series.pages if page is not None]
    ends = (
        offset + count
        for page in pages
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    )
    if max(ends, default=0) > tif.filehandle.size:
        raise UnusableError("is cut short; copy it again from where it came.")


def colour_axis(axes: str, shape: tuple[int, ...]) -> str:
    """Return the letter of the axis that holds colours, or nothing: S, or a C of three planes."""
    if "S" in axes:
        return "S"
    return "C" if "C" in axes and shape[axes.index("C")] == 3 else ""


def n_frames(axes: str, shape: tuple[int, ...]) -> int:
    """Return the number of fields in an array with named axes."""
    spatial = {"Y", "X", colour_axis(axes, shape)}
    return math.prod(size for axis, size in zip(axes, shape, strict=True) if axis not in spatial)


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


def tiff_pixel_size(tif: tifffile.TiffFile) -> PixelSize:
    """Return the pixel size of a TIFF: from OME-XML, ImageJ's description or the resolution tags."""
    if tif.pages.first.is_ome and (described := _ome_root(tif)) is not None:
        pixels = next(_named(described, "Pixels"), None)
        if pixels is None or "PhysicalSizeX" not in pixels.attrib:
            return PixelSize()
        return pixel_size(pixels.attrib["PhysicalSizeX"], pixels.attrib.get("PhysicalSizeXUnit", "µm"))
    page = tif.pages.first
    resolution = page.tags.get("XResolution")
    if resolution is None:
        return PixelSize()
    unit = "inch"
    if tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit", ""))
    elif "ResolutionUnit" in page.tags:
        unit = {2: "inch", 3: "cm"}.get(page.tags["ResolutionUnit"].value, "")
    per_unit = _ratio(resolution.value)
    if per_unit is None:
        return PixelSize(
            note=f"its XResolution, {resolution.value!r}, is no number, so the pixel size is unknown"
        )
    return pixel_size(1 / per_unit, unit)


def _ratio(value: Any) -> float | None:  # noqa: ANN401
    """Return the number of a RATIONAL, FLOAT or SHORT tag, None where it is no positive number."""
    if isinstance(value, tuple):
        above, below = (*value, 1)[:2]
    else:
        above, below = value, 1
    above, below = to_number(above), to_number(below)
    return above / below if above and below and above > 0 and below > 0 else None


def _check_n_pages(tif: tifffile.TiffFile) -> None:
    """Refuse a file with too many pages, before all are listed."""
    try:
        tif.pages[MAX_PAGES]
    except IndexError:
        return
    raise UnusableError(f"has more than {MAX_PAGES:,} pages; save it in several files.")


def _is_believable(tif: tifffile.TiffFile) -> bool:
    """Return whether an OME description is about no more planes than this file has pages."""
    root = _ome_root(tif)
    try:
        return root is not None and _fits_pages(root, len(tif.pages), max(tif.pages.first.samplesperpixel, 1))
    except ValueError:
        return False  # a number is none


def _is_exaggerated(tif: tifffile.TiffFile) -> bool:
    """Return whether a series has more fields than there are pages, and more bytes than the file."""
    return any(
        n_frames(series.axes, series.shape) > len(tif.pages) and series.nbytes > tif.filehandle.size
        for series in tif.series
    )


def _fits_pages(root: ElementTree.Element, n_pages: int, n_samples: int) -> bool:
    """Return whether no image that OME-XML describes has more planes than there are pages."""
    for pixels in _named(root, "Pixels"):
        channels = [int(channel.get("SamplesPerPixel", 1)) for channel in _named(pixels, "Channel")]
        n_planes = math.prod(int(pixels.get(size, 1)) for size in _SIZES) // max(*channels, 1, 1)
        if n_planes > n_pages * n_samples:
            return False
        for data in _named(pixels, "TiffData"):
            named = (data.get(name, 0) for name in ("IFD", "NumPlanes", "PlaneCount"))
            if any(not 0 <= int(number) <= n_pages for number in named):
                return False
    return True


def _ome_root(tif: tifffile.TiffFile) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(tif.pages.first.description)
    except (ElementTree.ParseError, ValueError):
        return None


def _named(element: ElementTree.Element, name: str) -> Iterator[Any]:
    return (one for one in element.iter() if one.tag.rpartition("}")[2] == name)


def _check_series(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Refuse a series whose first page claims more than the file holds."""
    page = series.keyframe
    if not all(isinstance(getattr(page, name), int) for name in _WHOLE_NUMBERS):
        raise UnusableError("is damaged: a size in its header is no number; copy or export it again.")
    if not {"Y", "X"} <= set(series.axes):
        raise UnusableError(f"has the axes '{series.axes}', not y and x; save it as an ordinary image.")
    if page.samplesperpixel > MAX_SAMPLES:
        raise UnusableError(f"has {page.samplesperpixel} samples per pixel; save it as grey, RGB or RGBA.")
    tile = page.tilewidth * page.tilelength if page.is_tiled else 0
    if tile > MAX_PIXELS:
        raise UnusableError(
            f"has tiles of {page.tilewidth} x {page.tilelength} pixels; save it in smaller ones."
        )
    bits = math.prod(page.shape) * page.bitspersample
    stored = min(sum(page.databytecounts), tif.filehandle.size)
    ratio = _RATIOS.get(int(page.compression), _UNBOUNDED)
    check_claim(bits // 8, stored + _HEADER_BYTES, ratio)


def _check_format(page: Any, dtype: np.dtype[Any]) -> None:  # noqa: ANN401
    """Refuse number formats and colour spaces without a clear way to RGB."""
    kind = tifffile.PHOTOMETRIC
    jpeg = page.photometric == kind.YCBCR and page.compression in {6, 7}
    known = {kind.MINISWHITE, kind.MINISBLACK, kind.RGB, kind.PALETTE}
    if page.photometric not in known and not jpeg:
        raise UnusableError(f"has the colour space {page.photometric.name}; save it as RGB with 8 bits.")
    if page.photometric == kind.PALETTE:
        return
    check_numbers(dtype)
    if page.bitspersample < 8:
        raise UnusableError(f"holds numbers with {page.bitspersample} bits; save it with 8 or 16 bits.")
