"""The cells that a file gives for one image, and the checks that leave out objects that are no cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import (
    CELL_COLUMNS,
    MIN_CELL_AREA_PX,
    MIN_CELL_SIDE_PX,
    Cells,
    box_outline,
    has_outline,
    polygon_area,
)
from napari_amil.core.exchange.polygons import NoAreaError, fill_ids

NO_AREA = "without an area"
TOO_SMALL = "too small to be a cell"
DAMAGED = "damaged"
REGION = "a region around cells"
OUTSIDE = "outside the image"
_REGION_RATIO = 4.0  # an outline around others is a region from this many typical areas on
_REGION_PX = 625.0  # no cell is as wide: 2.5 diameters of the largest that the program looks for
_REGION_SHARE, _RECTANGLE_SHARE = 0.5, 0.1  # of an image: a marked shape, and a marked upright rectangle
_WHOLE_SHARE = 0.9  # of an image that other objects share: a frame around it
_FILLED = 0.99  # of its box, by an upright rectangle
_BORDER_PX = 2.0  # a box this close to the border of the image is cut by it, as detected cells have it
_BROKEN = (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError)


class NoCellError(Exception):
    """An object of a file is no cell; the message is a phrase that follows a number: ``a line or point``."""


@dataclass(frozen=True, eq=False)
class FoundObject:
    """One object of a file that may be a cell.

    Parameters
    ----------
    box
        y0, x0, y1, x1 in pixels.
    outline
        Polygon ``(n_points, 2)`` of y, x, None where the file gives a mere box.
    columns
        Its values of `CELL_COLUMNS` where they are known.
    record
        Other values of the object in the file.
    marked_region
        Whether the file marks it as a region of interest, which a hand-drawn cell may be, too.
    """

    box: NDArray[np.float32]
    outline: NDArray[np.float32] | None = None
    columns: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    marked_region: bool = False


@dataclass(frozen=True, eq=False)
class Annotation:
    """The cells of one image as a file gives them.

    Parameters
    ----------
    cells
        Boxes, and outlines where they are known.
    complete
        Whether every cell of the image is among them; else what is not is unknown, not background.
    patients
        Patients of the cells, from a table; none without.
    fold
        As a table says, None where it does not.
    shape
        Height and width in pixels that the image must have, None where the file does not say.
    left_out
        Number of objects that are no cells, by the reason.
    records
        Other values of each cell in the file, row for row; none where the reader keeps nothing.
    marked_region
        Whether the file marks each cell as a region of interest, row for row; none where no file could.
    """

    cells: Cells
    complete: bool = True
    patients: tuple[str, ...] = ()
    fold: int | None = None
    shape: tuple[int, int] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    records: tuple[Mapping[str, Any], ...] = ()
    marked_region: tuple[bool, ...] = ()

    @classmethod
    def from_objects(cls, objects: Iterable[Any], found: Callable[[Any], FoundObject]) -> Annotation:
        """Return the cells among the objects of a file, each decoded by ``found``.

        An object that is damaged, too small, or a region around cells is left out and counted. Objects
        without an id, or with one that is taken, get the next free number.
        """
        rows: list[FoundObject] = []
        left_out: Counter[str] = Counter()
        for one in objects:
            try:
                rows.append(found(one))
            except NoCellError as error:
                left_out[str(error)] += 1
            except NoAreaError:
                left_out[NO_AREA] += 1
            except _BROKEN:
                left_out[DAMAGED] += 1
        boxes = np.array([row.box for row in rows], dtype=np.float32).reshape(-1, 4)
        outlines = [row.outline for row in rows]
        marked = np.array([row.marked_region for row in rows], dtype=bool)
        scored = np.array([np.isfinite(row.columns.get("detection_score", np.nan)) for row in rows], bool)
        reasons = no_cell_reasons(boxes, outlines, marked, scored)
        left_out.update(reason for reason in reasons if reason)
        kept = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
        records, marks = tuple(row.record for row in kept), tuple(row.marked_region for row in kept)
        return cls(_cells(kept), left_out=left_out, records=records, marked_region=marks)

    def within(self, name: str, shape: tuple[int, int]) -> Annotation:
        """Return the annotation with its boxes inside an image of ``shape`` and its border flags set.

        Boxes outside the image are left out and counted, unless they are the larger part, and so are a frame
        around the whole image beside other objects, and shapes that the file marks as regions and that are
        larger than a cell can be in this image.

        Raises
        ------
        AmilError
            If the labels have another size, or more boxes lie outside the image than inside.
        """
        height, width = shape
        if self.shape is not None and self.shape != shape:
            raise AmilError(
                f"The labels of '{name}' are {self.shape[1]} x {self.shape[0]} pixels, but the image has "
                f"{width} x {height}; they must be of one size."
            )
        limits = np.array([height, width], dtype=np.float32)
        sides = np.clip(self.cells.boxes[:, 2:], None, limits) - np.clip(self.cells.boxes[:, :2], 0, None)
        drawn = np.isnan(self.cells.detection_score)
        outside = (sides <= 0).any(axis=1) | (drawn & (sides < MIN_CELL_SIDE_PX).any(axis=1))
        if 2 * outside.sum() > len(outside):
            raise AmilError(
                f"{int(outside.sum())} of {len(outside)} boxes of '{name}' lie outside its "
                f"{width} x {height} pixels; check that they belong to this image and are in pixels."
            )
        region = self._regions(height * width) & ~outside
        out = outside | region
        cells = self.cells.take(~out)
        cut = (cells.boxes[:, :2] < _BORDER_PX).any(axis=1)
        cut |= (cells.boxes[:, 2:] > limits - _BORDER_PX).any(axis=1)
        numbers = {OUTSIDE: int(outside.sum()), REGION: int(region.sum())}
        left_out = {reason: number for reason, number in numbers.items() if number}
        records = tuple(one for one, gone in zip(self.records, out, strict=False) if not gone)
        marks = tuple(one for one, gone in zip(self.marked_region, out, strict=False) if not gone)
        clipped = _clipped(cells, limits, np.asarray(cut, dtype=bool))
        return replace(self, cells=clipped, left_out=left_out, records=records, marked_region=marks)

    def _regions(self, image_px: int) -> NDArray[np.bool_]:
        """Return a mask of objects too large for a cell: marked regions, and frames around the image."""
        areas, drawn = self.cells.area_px, np.isnan(self.cells.detection_score)
        whole = drawn & (areas > _WHOLE_SHARE * image_px)
        whole = (
            whole if len(whole) > whole.sum() else np.zeros_like(whole)
        )  # a single cell may fill its image
        if not any(self.marked_region):
            return np.asarray(whole, dtype=bool)
        upright = areas > _FILLED * (self.cells.boxes[:, 2:] - self.cells.boxes[:, :2]).prod(axis=1)
        share = np.where(upright, _RECTANGLE_SHARE, _REGION_SHARE)
        large = (areas > share * image_px) | (areas > _REGION_PX**2)
        marked = np.array(self.marked_region, dtype=bool) & drawn
        return np.asarray(whole | (large & marked), dtype=bool)


def left_out_sentence(place: str, left_out: Mapping[str, int]) -> str:
    """Return a sentence about the objects of a file that are no cells; empty where there are none."""
    total = sum(int(number) for number in left_out.values())
    if not total:
        return ""
    listed = ", ".join(f"{number} {reason}" for reason, number in left_out.items() if number)
    are = "1 object that is no cell is" if total == 1 else f"{total} objects that are no cells are"
    return f"'{place}': {are} left out ({listed})."


def sum_left_out(annotations: Iterable[Annotation]) -> Counter[str]:
    """Return the number of left-out objects of several images, by the reason."""
    return sum((Counter(one.left_out) for one in annotations), Counter[str]())


def refuse_without_cells(place: str, n_cells: int, left_out: Mapping[str, int]) -> None:
    """Refuse a file whose objects are all left out.

    Raises
    ------
    AmilError
        With the reasons.
    """
    if not n_cells and left_out:
        raise AmilError(f"{left_out_sentence(place, left_out)[:-1]}, and no cell remains; export it again.")


def no_cell_reasons(
    boxes: NDArray[np.float32],
    outlines: Sequence[NDArray[np.float32] | None],
    marked_region: NDArray[np.bool_],
    scored: NDArray[np.bool_],
) -> list[str]:
    """Return for each object why it is no cell; ``""`` for a cell.

    A region is an outline that is larger than four typical cells and holds two other objects; one that the
    file marks as a region needs only one of both. Objects with a detection score are detected cells.

    Parameters
    ----------
    boxes
        ``(n_objects, 4)`` y0, x0, y1, x1 in pixels.
    outlines
        One ``(n_points, 2)`` polygon y, x per object, None for a mere box.
    marked_region, scored
        ``(n_objects,)`` whether the file marks a region, and has a detection score.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sides = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
        areas = sides.prod(axis=1)
        for row, outline in enumerate(outlines):
            if outline is not None:
                areas[row] = polygon_area(outline)
    damaged = ~np.isfinite(boxes).all(axis=1) | ~np.isfinite(areas)
    flat = ~damaged & ((sides <= 0).any(axis=1) | (areas <= 0))
    small = ~(damaged | flat | scored) & ((sides < MIN_CELL_SIDE_PX).any(axis=1) | (areas < MIN_CELL_AREA_PX))
    region = np.zeros(len(boxes), dtype=bool)
    rows = np.flatnonzero(~(damaged | flat | small))
    own = [outlines[row] for row in rows.tolist()]
    region[rows] = _regions(boxes[rows], areas[rows], own, marked_region[rows]) & ~scored[rows]
    masks = {DAMAGED: damaged, NO_AREA: flat, TOO_SMALL: small, REGION: region}
    return [next((name for name, mask in masks.items() if mask[row]), "") for row in range(len(boxes))]


def _regions(
    boxes: NDArray[np.float32],
    areas: NDArray[np.float64],
    outlines: Sequence[NDArray[np.float32] | None],
    marked: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return a mask of the objects that are regions around cells (`no_cell_reasons`)."""
    regions = np.zeros(len(boxes), dtype=bool)
    if len(boxes) < 2:
        return regions
    marked = marked & ~marked.all()  # where all are marked, cells were drawn by hand
    large = np.asarray(areas > _REGION_RATIO * np.median(areas[~marked]))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for row in np.flatnonzero(large | marked).tolist():
        inside = (boxes[:, :2] >= boxes[row, :2]).all(axis=1) & (boxes[:, 2:] <= boxes[row, 2:]).all(axis=1)
        held = np.setdiff1d(np.flatnonzero(inside), [row])
        outline = outlines[row]
        if outline is not None and len(held):
            held = held[points_in_poly(centres[held], outline)]
        regions[row] = (len(held) > 0 or large[row]) if marked[row] else len(held) > 1
    return regions


def _cells(rows: Sequence[FoundObject]) -> Cells:
    """Return cells of objects, with defaults for unknown values."""
    boxes = np.array([row.box for row in rows], dtype=np.float32).reshape(-1, 4)
    outlines = tuple(
        box_outline(box) if row.outline is None else row.outline for row, box in zip(rows, boxes, strict=True)
    )
    areas = [polygon_area(outline) for outline in outlines]
    known: dict[str, Any] = {
        name: np.array([row.columns.get(name, default) for row in rows])
        for name, default in _DEFAULTS.items()
    }
    known["area_px"] = np.where(np.isfinite(known["area_px"]), known["area_px"], areas)
    known["cell_id"] = fill_ids(known["cell_id"])
    return Cells(boxes, outlines, **known)


_DEFAULTS: dict[str, float] = {
    **{"detection_score": np.nan, "area_px": np.nan},
    **{"touches_border": 0, "overlaps": 0, "cell_id": 0},
}


def _clipped(cells: Cells, limits: NDArray[np.float32], cut: NDArray[np.bool_]) -> Cells:
    """Return cells inside an image, those that its border cuts flagged."""
    boxes = np.clip(cells.boxes, 0, np.tile(limits, 2))
    outlines = tuple(
        np.clip(outline, 0, limits) if known else box_outline(box)
        for box, outline, known in zip(boxes, cells.outlines, has_outline(cells), strict=True)
    )
    columns = {name: getattr(cells, name) for name in CELL_COLUMNS}
    return Cells(boxes, outlines, **columns | {"touches_border": cells.touches_border | cut})
