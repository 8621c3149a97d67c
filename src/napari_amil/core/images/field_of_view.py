"""Field of view: the part of an image that shows the smear, without black surrounds, frames and bars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.base.types import Image

_THUMBNAIL_PX = 640  # longest side of the mask; a field up to this size is masked pixel by pixel
_STRIP_PX = 1024  # rows read at once
_DARK = 0.40  # of the bright level, in the brightest channel: nothing in a smear but ink is darker
_CORNER = 0.01  # share of the image that a dark surround covers at least
_FLAT_LEVELS = 6  # grey levels by which the pixels of a frame or bar differ
_FLAT_ROW, _SMEAR_ROW = 0.55, 0.25  # share of one colour in a row of a bar (with text), and in the next row
_FLAT_EDGE = 0.9  # the same in the outermost row, which no text reaches
_LARGEST_BAR = 0.45  # share of a side
_RIM = 0.006  # of the longest side, taken off all round: there light fades
_ALL_BUT = 0.02  # at least this share of the image is left, or there is no smear to be found


class Source(Protocol):
    """An image that is read window by window."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def window(self, rows: slice, columns: slice) -> Image:
        """Return a part ``(h, w, 3)`` uint8, RGB."""


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """The usable part of an image that does not fill its rectangle.

    Parameters
    ----------
    mask
        ``(height / step, width / step)``: whether the smear is seen there.
    step
        Side of one element of the mask in pixels of the image.
    """

    mask: NDArray[np.bool_]
    step: int

    def inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Return the mask of a window of the image, pixel by pixel."""
        return self.at(np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop))

    def at(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return whether pixels ``rows``, ``columns`` of the image show the smear."""
        y, x = (
            np.clip(axis // self.step, 0, length - 1)
            for axis, length in zip((rows, columns), self.mask.shape, strict=True)
        )
        return np.asarray(self.mask[y, x])

    def cuts(self, outlines: tuple[NDArray[np.float32], ...], border_px: float) -> NDArray[np.bool_]:
        """Return a mask of the outlines, y and x in pixels, within ``border_px`` of the rim."""
        distance = ndimage.distance_transform_edt(np.pad(self.mask, 1, constant_values=True))[1:-1, 1:-1]
        near = FieldOfView(distance * self.step > border_px, self.step)
        return np.array([not near.at(*_pixels(outline)).all() for outline in outlines], dtype=bool)


def field_of_view(source: Source) -> FieldOfView | None:
    """Return the part of an image that shows the smear, None where that is all of it.

    What is dark and contains a corner of the image is a surround, as of a camera on an eyepiece. Rows and
    columns along a side that are mostly of one colour, up to a sharp edge, are a frame or a bar of text.
    A large image is read to the end only where one of its corners is dark or flat.
    """
    if not any(_unlike_smear(corner) for corner in _corners(source)):
        return None
    small, step = _thumbnail(source)
    outside = _frame(small) | _surround(small)
    if not outside.any() or outside.mean() > 1 - _ALL_BUT:
        return None
    rim = max(round(_RIM * max(small.shape[:2])), 1)
    mask = ~ndimage.binary_dilation(outside, ndimage.generate_binary_structure(2, 2), iterations=rim)
    return FieldOfView(mask, step)


def visible_mask(source: Source) -> NDArray[np.bool_]:
    """Return for every pixel of an image whether it shows the smear, ``(height, width)``."""
    height, width = source.shape
    seen = field_of_view(source)
    if seen is None:
        return np.ones((height, width), dtype=bool)
    return seen.inside(slice(0, height), slice(0, width))


def _pixels(outline: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    y, x = np.floor(outline).astype(np.int64).T
    return y, x


def _corners(source: Source, side: int = 24) -> Iterator[Image]:
    height, width = source.shape
    for y in (0, max(height - side, 0)):
        for x in (0, max(width - side, 0)):
            yield source.window(slice(y, min(y + side, height)), slice(x, min(x + side, width)))


def _unlike_smear(corner: Image) -> bool:
    """Return whether a corner could belong to a surround, frame or bar: black, or of one colour."""
    first = corner[[0, 0, -1, -1], [0, -1, 0, -1]].max(axis=1)
    return bool(first.min() < 110 or np.median(np.ptp(corner, axis=(0, 1))) <= 2 * _FLAT_LEVELS)


def _thumbnail(source: Source) -> tuple[Image, int]:
    """Return every n-th pixel of every n-th row, read in strips, and n."""
    height, width = source.shape
    step = max(-(-max(height, width) // _THUMBNAIL_PX), 1)
    strip = step * max(_STRIP_PX // step, 1)
    parts = [
        source.window(slice(y, min(y + strip, height)), slice(0, width))[::step, ::step]
        for y in range(0, height, strip)
    ]
    return np.concatenate(parts), step


def _surround(image: Image) -> NDArray[np.bool_]:
    """Return the dark pixels that hang together with a corner of the image."""
    brightest = image.max(axis=2)
    limit = _DARK * np.percentile(brightest[::4, ::4], 98)
    if brightest[[0, 0, -1, -1], [0, -1, 0, -1]].min() >= limit:
        return np.zeros(brightest.shape, dtype=bool)
    labels, _ = ndimage.label(ndimage.uniform_filter(brightest.astype(np.float32), 3) < limit)
    sizes = np.bincount(labels.ravel())
    numbers = [int(n) for n in np.unique(labels[[0, 0, -1, -1], [0, -1, 0, -1]])]
    wanted = [n for n in numbers if n and sizes[n] >= _CORNER * labels.size]
    return np.isin(labels, wanted)


def _frame(image: Image) -> NDArray[np.bool_]:
    """Return the rows and columns along the sides that are frames or bars."""
    green = image[..., 1].astype(np.int16)
    outside = np.zeros(green.shape, dtype=bool)
    for turns in range(4):
        seen, target = np.rot90(green, turns), np.rot90(outside, turns)
        target[: _bar_height(seen)] = True
    return outside


def _bar_height(grey: NDArray[np.int16]) -> int:
    """Return the number of rows at the top that are mostly of one colour, 0 without a sharp lower edge."""
    colour = int(np.median(grey[0]))
    if (np.abs(grey[0] - colour) <= _FLAT_LEVELS).mean() < _FLAT_EDGE:
        return 0
    share = (np.abs(grey - colour) <= _FLAT_LEVELS).mean(axis=1)
    height = int(np.argmax(share < _FLAT_ROW)) if (share < _FLAT_ROW).any() else len(share)
    after = share[height : height + 4]
    if height < 2 or height > _LARGEST_BAR * len(grey) or after.min() > _SMEAR_ROW:
        return 0
    return height + int(np.argmin(after))
