"""Slides of scanners: the levels of a pyramid, each read window by window.

OpenSlide reads the formats of scanners, libCZI those of Zeiss, tifffile and Zarr pyramidal TIFF and
OME-Zarr. Any other image counts as a slide of one level.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tifffile

from napari_amil.core.base.optional import optional
from napari_amil.core.base.types import Image
from napari_amil.core.images.fields import Field, StoredField, open_field
from napari_amil.core.images.ome_zarr import is_zarr, zarr_levels
from napari_amil.core.images.pixel_size import PixelSize, pixel_size
from napari_amil.core.images.read import SCANNER_FORMATS, check_page, is_tiff
from napari_amil.core.images.refusals import UnusableError, reading
from napari_amil.core.images.tiff import check_tiff, n_frames, open_tiff, tiff_frames, tiff_pixel_size

_SMALLEST_CZI_PX = 1024  # a CZI is read at any scale; levels end at this width


@dataclass(frozen=True, eq=False)
class Slide:
    """A pyramid of the same picture, from full resolution down.

    Parameters
    ----------
    path
        The file.
    levels
        From the largest to the smallest; the first is the slide itself.
    """

    path: Path
    levels: tuple[Field, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.levels[0].shape

    @property
    def pixel_um(self) -> float | None:
        """Side of a pixel in micrometres, None where the file does not tell it."""
        return self.levels[0].pixel_um

    def shrink(self, level: int) -> float:
        """Return the width of one pixel of a level in pixels of the slide."""
        return self.shape[1] / self.levels[level].shape[1]

    def read(self, rows: slice, columns: slice, shrink: float = 1.0) -> Image:
        """Return a part of the slide at a scale, ``(h / shrink, w / shrink, 3)`` uint8, RGB.

        Read from the smallest level that is large enough, and averaged from there.

        Parameters
        ----------
        rows, columns
            In pixels of the slide, within it.
        shrink
            Pixels of the slide for each pixel of the result.
        """
        fits = [n for n in range(len(self.levels)) if self.shrink(n) <= shrink * 1.01]
        level = max(fits, default=0, key=self.shrink)
        limits, factor = self.levels[level].shape, self.shrink(level)
        window = [
            slice(
                int(axis.start / factor), min(max(round(axis.stop / factor), int(axis.start / factor) + 1), n)
            )
            for axis, n in zip((rows, columns), limits, strict=True)
        ]
        pixels = self.levels[level].window(*window)
        height, width = (max(round((axis.stop - axis.start) / shrink), 1) for axis in (rows, columns))
        if pixels.shape[:2] == (height, width):
            return pixels
        resized = PIL.Image.fromarray(pixels).resize((width, height), PIL.Image.Resampling.BOX)
        return np.asarray(resized)


@contextmanager
def open_slide(path: Path) -> Iterator[Slide]:
    """Yield a slide.

    Raises
    ------
    ImageError
        If the file cannot be read or used; the sentence names it, the reason and the remedy.
    MissingExtraError
        If the library that reads the format is not installed.
    """
    with ExitStack() as open_files:
        with reading(path):
            levels = _opened(path, open_files)
        yield Slide(path, levels)


def is_slide(path: Path) -> bool:
    """Return whether a path has the extension of a scanner's format, which only `open_slide` reads."""
    return path.suffix.lower() in SCANNER_FORMATS


def _opened(path: Path, open_files: ExitStack) -> tuple[Field, ...]:
    suffix = path.suffix.lower()
    if is_slide(path) and not path.exists():
        raise UnusableError("does not exist; check the path.")
    if suffix in SCANNER_FORMATS - {".czi"}:
        slide = open_files.enter_context(optional("openslide").OpenSlide(path))
        return tuple(_OpenSlideLevel(slide, path, level) for level in range(slide.level_count))
    if suffix == ".czi":
        document = open_files.enter_context(optional("pylibCZIrw.czi").open_czi(str(path)))
        return tuple(_czi_levels(document, path))
    if is_zarr(path):
        images = zarr_levels(path)
        return tuple(StoredField(i.array, i.axes, 0, path=path, pixel_size=i.pixel_size) for i in images)
    if is_tiff(path):
        tif = open_files.enter_context(open_tiff(path))
        frames = tiff_frames(tif)
        check_page(0, len(frames))
        series = max((one for one, _ in frames), key=lambda one: one.size)
        if len(series.levels) > 1:
            return tuple(_tiff_levels(tif, path, series))
    return (open_files.enter_context(open_field(path)),)


def _tiff_levels(
    tif: tifffile.TiffFile, path: Path, series: tifffile.TiffPageSeries
) -> Iterator[StoredField]:
    """Yield the levels of a pyramidal TIFF of one plane."""
    if n_frames(series.axes, series.shape) > 1:
        raise UnusableError("is a pyramid of several planes; save one plane.")
    known = tiff_pixel_size(tif)
    check_tiff(tif, series)
    full_px = series.shape[series.axes.index("X")]
    for number, level in enumerate(series.levels):
        stored = optional("zarr").open(series.aszarr(level=number), mode="r")
        factor = full_px / level.shape[level.axes.index("X")]
        size = PixelSize(known.um * factor if known.um else None, known.note)
        yield StoredField(stored, level.axes, 0, level.keyframe, path=path, pixel_size=size)


class _OpenSlideLevel:
    """One level of a slide that OpenSlide reads; what was not scanned is white.

    Where a file tells what was scanned, the slide is that part, as in QuPath.
    """

    def __init__(self, slide: Any, path: Path, level: int) -> None:  # noqa: ANN401
        self._slide, self._path, self._level = slide, path, level
        known = slide.properties
        scanned = [int(known.get(f"openslide.bounds-{name}", 0)) for name in ("x", "y", "width", "height")]
        self._corner = scanned[0], scanned[1]
        whole, own = slide.dimensions, slide.level_dimensions[level]
        self._factors = whole[0] / own[0], whole[1] / own[1]
        width, height = (scanned[2] or whole[0], scanned[3] or whole[1])
        self.shape = int(height / self._factors[1]), int(width / self._factors[0])
        pixel_um = pixel_size(known.get("openslide.mpp-x", ""), "µm").um
        self.pixel_um = pixel_um and pixel_um * self._factors[0]
        self.notes: tuple[str, ...] = ()

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part ``(h, w, 3)`` uint8, RGB."""
        x, y = (
            corner + round(axis.start * factor)
            for corner, axis, factor in zip(self._corner, (columns, rows), self._factors, strict=True)
        )
        size = columns.stop - columns.start, rows.stop - rows.start
        with reading(self._path):
            pixels = np.asarray(self._slide.read_region((x, y), self._level, size), dtype=np.uint16)
        opaque = pixels[..., 3:]
        return np.asarray((pixels[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class _CziLevel:
    """A CZI at a scale; libCZI reads from the pyramid in the file. What was not scanned is white."""

    document: Any
    path: Path
    corner: tuple[int, int]
    shape: tuple[int, int]
    factor: int
    pixel_um: float | None
    notes: tuple[str, ...] = ()

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part ``(h, w, 3)`` uint8, RGB."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        place = self.corner[1] + columns.start * self.factor, self.corner[0] + rows.start * self.factor
        roi = (*place, width * self.factor, height * self.factor)
        with reading(self.path):
            pixels = self.document.read(roi=roi, zoom=1 / self.factor, background_pixel=(1.0, 1.0, 1.0))
        return np.ascontiguousarray(pixels[:height, :width, ::-1])


def _czi_levels(document: Any, path: Path) -> Iterator[_CziLevel]:  # noqa: ANN401
    """Yield a CZI at full, half, quarter ... resolution."""
    kinds = set(document.pixel_types.values())
    if kinds != {"Bgr24"}:
        raise UnusableError(
            f"holds pixels of the type {', '.join(sorted(kinds))}, not RGB with 8 bits; export it from ZEN "
            "as OME-TIFF."
        )
    x, y, width, height = document.total_bounding_rectangle
    known = _czi_pixel_um(document.metadata)
    factor = 1
    while factor == 1 or width // factor >= _SMALLEST_CZI_PX:
        size = known * factor if known else None
        yield _CziLevel(document, path, (y, x), (height // factor, width // factor), factor, size)
        factor *= 2


def _czi_pixel_um(metadata: Any) -> float | None:  # noqa: ANN401
    """Return the side of a pixel in micrometres from the metadata of a CZI."""
    try:
        distances = metadata["ImageDocument"]["Metadata"]["Scaling"]["Items"]["Distance"]
        found = next(one["Value"] for one in distances if one["@Id"] == "X")
    except (KeyError, TypeError, StopIteration):
        return None
    return pixel_size(found, "m").um
