"""Training fields from annotated cells: pixels at the network's scale, cells in label planes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon
from skimage.measure import regionprops

from napari_amil.core.base.types import Cells, is_box
from napari_amil.core.detection.augment import AnnotatedField
from napari_amil.core.detection.classical import annotate
from napari_amil.core.detection.network_input import input_from_array
from napari_amil.core.detection.scale import same_scale
from napari_amil.core.images.foreground import foreground_mask

_BOX_AGREES = 0.8  # intersection over union from which a classical outline is believed to be that of a box
_ELLIPSE = 1.06  # of the ellipse that a box holds, in which its cell lies
_FILLED = 0.7  # share of the ellipse that is stained, at least
_SMALLEST_BOX_PX = 8  # at the network's scale; of less no outline is made
_RIM_PX = 3  # at the network's scale: what lies this close to an annotated cell belongs to it


@dataclass(frozen=True, eq=False)
class _Stamp:
    """One cell: the corner and the pixels of its window, and whether its outline is known."""

    corner: tuple[int, int]
    mask: NDArray[np.bool_]
    drawn: bool

    @property
    def window(self) -> tuple[slice, slice]:
        (y, x), (height, width) = self.corner, self.mask.shape
        return slice(y, y + height), slice(x, x + width)


def annotated_field(
    normalised: NDArray[np.float32],
    cells: Cells,
    *,
    complete: bool,
    diameter_px: float | None = None,
    white: Collection[int] = (),
) -> AnnotatedField:
    """Return a normalised field ``(height, width, 3)`` and its annotated cells at the network's scale.

    A cell that is known by its box alone takes the outline of classical segmentation, or of what is stained
    within the ellipse in its box, if both boxes agree (intersection over union of 0.8); else it teaches
    no outline.

    Parameters
    ----------
    normalised
        The field, background 1.
    cells
        In pixels of the field.
    complete
        Whether what is not annotated is background. If not, what looks like a cell without an annotation
        is painted over with background, so that nothing wrong is learned.
    diameter_px
        Typical diameter of a cell in pixels; where it is not given it is estimated, unless the whole red
        cells speak for another magnification.
    white
        Rows of the cells that are white ones.
    """
    view = input_from_array(normalised, diameter_px)
    annotated_px = _whole_diameter(cells, white)
    if diameter_px is None and np.isfinite(annotated_px) and not same_scale(annotated_px, view):
        view = view.at_diameter(annotated_px)
    pixels = view.pixels.numpy().transpose(1, 2, 0)
    shape = pixels.shape[:2]
    boxes = [is_box(outline, box) for outline, box in zip(cells.outlines, cells.boxes, strict=True)]
    diameter = view.diameter_px * view.scale
    classical = annotate(pixels, diameter).labels if any(boxes) else np.zeros(shape, dtype=np.int32)
    foreground = ndimage.binary_fill_holes(foreground_mask(pixels))
    stamps = [
        stamp if stamp.drawn else _stained_in_box(stamp, foreground, at_border)
        for stamp, at_border in zip(
            _stamps(cells, view.scale, classical), cells.touches_border.tolist(), strict=True
        )
    ]
    planes, numbers = _planes(stamps, shape)
    if not complete:
        known = ndimage.binary_dilation((planes > 0).any(axis=0), iterations=_RIM_PX)
        unknown = ndimage.binary_dilation(foreground_mask(pixels), iterations=_RIM_PX) & ~known
        pixels = np.where(unknown[..., None], 1.0, pixels)
    boxed = frozenset(n for n, stamp in zip(numbers, stamps, strict=True) if n and not stamp.drawn)
    others = frozenset(n for row, n in enumerate(numbers) if n and row in white)
    alone = _alone(stamps, shape) & ~cells.touches_border
    isolated = tuple(n for n, row in zip(numbers, alone, strict=True) if n and row and n not in others)
    levels = (pixels * 255).round().astype(np.uint8)
    return AnnotatedField(levels, planes[0], isolated, planes[1:], boxed, others)


def _whole_diameter(cells: Cells, white: Collection[int]) -> float:
    """Return the median diameter of the whole red cells in pixels, NaN without any."""
    whole = ~cells.touches_border & ~np.isin(np.arange(len(cells)), list(white))
    sides = cells.boxes[whole, 2:] - cells.boxes[whole, :2]
    return float(np.median(np.sqrt(sides.prod(axis=1)))) if len(sides) else float("nan")


def _stamps(cells: Cells, scale: float, classical: NDArray[np.int32]) -> list[_Stamp]:
    """Return the pixels of every cell."""
    regions = regionprops(classical)
    found = np.array([region.bbox for region in regions], dtype=np.float64).reshape(-1, 4)
    stamps = []
    for outline, own, box in zip(
        cells.outlines, cells.boxes, cells.boxes.astype(np.float64) * scale, strict=True
    ):
        low = np.maximum(np.floor(box[:2]), 0).astype(int)
        high = np.minimum(np.ceil(box[2:]), classical.shape).astype(int)
        mask = np.zeros(np.maximum(high - low, 0), dtype=bool)
        boxed = is_box(outline, own)
        best = _best_match(box, found) if boxed else -1
        if best >= 0:
            region = regions[best]
            corner = region.bbox[0], region.bbox[1]
            stamps.append(_Stamp((int(corner[0]), int(corner[1])), region.image, True))
            continue
        if boxed:
            mask[:] = True
        else:
            points = outline * scale - low
            mask[polygon(points[:, 0] - 0.5, points[:, 1] - 0.5, mask.shape)] = True
        stamps.append(_Stamp((int(low[0]), int(low[1])), mask, not boxed))
    return stamps


def _stained_in_box(stamp: _Stamp, foreground: NDArray[np.bool_], at_border: bool) -> _Stamp:
    """Return a boxed cell with the stained pixels of the ellipse in its box, if these fill the box.

    The box of a cell that the border cuts holds no whole ellipse: all that is stained in it counts.
    """
    height, width = stamp.mask.shape
    if min(height, width) < _SMALLEST_BOX_PX:
        return stamp
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    ellipse = np.full(stamp.mask.shape, fill_value=True) if at_border else y**2 + x**2 <= _ELLIPSE**2
    labels, n_parts = ndimage.label(foreground[stamp.window] & ellipse)
    if not n_parts:
        return stamp
    mask = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    share = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / mask.size
    filled = mask.sum() / ellipse.sum()
    return _Stamp(stamp.corner, mask, True) if share >= _BOX_AGREES and filled >= _FILLED else stamp


def _best_match(box: NDArray[np.float64], found: NDArray[np.float64]) -> int:
    """Return the row of the box that agrees best, -1 where none agrees well enough."""
    sides = np.minimum(box[2:], found[:, 2:]) - np.maximum(box[:2], found[:, :2])
    common = np.clip(sides, 0, None).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (found[:, 2:] - found[:, :2]).prod(axis=1) - common
    share = common / np.maximum(union, 1e-9)
    return int(share.argmax()) if len(share) and share.max() >= _BOX_AGREES else -1


def _planes(stamps: list[_Stamp], shape: tuple[int, ...]) -> tuple[NDArray[np.int32], list[int]]:
    """Return planes ``(n_planes, height, width)`` in which no two cells share a pixel, and the numbers."""
    planes = [np.zeros(shape, dtype=np.int32)]
    numbers = []
    for number, stamp in enumerate(stamps, start=1):
        if not stamp.mask.any():
            numbers.append(0)
            continue
        free = next((plane for plane in planes if not plane[stamp.window][stamp.mask].any()), None)
        if free is None:
            free = np.zeros(shape, dtype=np.int32)
            planes.append(free)
        free[stamp.window][stamp.mask] = number
        numbers.append(number)
    return np.stack(planes), numbers


def _alone(stamps: list[_Stamp], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of cells with a known outline, inside the field, whose box overlaps no other."""
    boxes = np.array([[*s.corner, *np.add(s.corner, s.mask.shape)] for s in stamps]).reshape(-1, 4)
    apart = (boxes[:, None, :2] >= boxes[None, :, 2:]) | (boxes[:, None, 2:] <= boxes[None, :, :2])
    apart = apart.any(axis=2) | np.eye(len(boxes), dtype=bool)
    inside = (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < np.array(shape)).all(axis=1)
    drawn = np.array([stamp.drawn for stamp in stamps], dtype=bool)
    return np.asarray(apart.all(axis=1) & inside & drawn, dtype=bool)
