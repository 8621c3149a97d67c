"""Data types: cells, bags, cohorts and their scores, in one row order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, CLINICAL, PROBABILITY, column_name
from napari_amil.core.base.errors import CohortError

Floats = NDArray[np.float64]
"""An array of numbers in double precision."""
Image = NDArray[np.uint8]
"""One field as read: ``(height, width, 3)``, RGB, 0 to 255."""

CLASS_SEPARATOR = " | "
"""Between the classes of a class set, in tables."""
ANOMALOUS_Q = 0.05
"""A cell whose q-value is below this counts as anomalous."""
MIN_CELL_AREA_PX, MIN_CELL_SIDE_PX = 3.0, 2.0
"""Least area and side of a drawn cell, in square pixels and pixels."""
UNSEEN = "unlike anything seen"
"""Verdict of a bag that no known class explains."""
ABSTAIN = "abstain"
"""Verdict of a bag of which too little is known."""


def _joined(name: str, outlines: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Return outlines as two arrays, all points and how many each outline has; `_apart` is the way back."""
    sizes = np.array([len(outline) for outline in outlines], dtype=np.int64)
    points = np.concatenate([*outlines, np.empty((0, 2), np.float32)])
    return {f"{name}_points": points, f"{name}_sizes": sizes}


def _apart(name: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], ...]:
    sizes = arrays[f"{name}_sizes"]
    return tuple(np.split(arrays[f"{name}_points"], np.cumsum(sizes)[:-1])) if len(sizes) else ()


def _rows(values: Any, n_cells: int, dtype: Any) -> NDArray[Any]:  # noqa: ANN401
    column = np.array(values, dtype=dtype)  # a copy: the caller's array stays writable
    if column.shape != (n_cells,):
        raise ValueError(f"A column has shape {column.shape}, but there are {n_cells} cells.")
    column.setflags(write=False)
    return column


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one image.

    Parameters
    ----------
    boxes
        ``(n_cells, 4)`` float, ``y0, x0, y1, x1`` in pixels of the original image.
    outlines
        One ``(n_points, 2)`` polygon ``y, x`` in pixels of the original image per cell.
        Empty means: the box is the outline.
    detection_score
        ``(n_cells,)`` in 0 to 1; NaN for a cell that no detector found.
    area_px
        ``(n_cells,)`` area of the outline in square pixels of the original image.
    touches_border, overlaps
        ``(n_cells,)`` bool: cut by the image border; shares pixels with another cell.
    cell_id
        ``(n_cells,)`` int, unique within the image, never reused.
    others
        Outlines, as above, of further cells of the image, which may cover these.
    """

    boxes: NDArray[np.float32]
    outlines: tuple[NDArray[np.float32], ...] = ()
    # what is not given is filled in below, so that no reader ever meets a None
    detection_score: NDArray[np.float32] = None  # type: ignore[assignment]
    area_px: NDArray[np.float32] = None  # type: ignore[assignment]
    touches_border: NDArray[np.bool_] = None  # type: ignore[assignment]
    overlaps: NDArray[np.bool_] = None  # type: ignore[assignment]
    cell_id: NDArray[np.int64] = None  # type: ignore[assignment]
    others: tuple[NDArray[np.float32], ...] = ()

    def __post_init__(self) -> None:
        boxes = np.array(self.boxes, dtype=np.float32).reshape(-1, 4)
        n = len(boxes)
        if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
            raise ValueError("Every box needs finite y0 < y1 and x0 < x1 in pixels.")
        boxes.setflags(write=False)
        sides = boxes[:, 2:] - boxes[:, :2]
        defaults: dict[str, tuple[Any, Any]] = {
            "detection_score": (np.full(n, np.nan), np.float32),
            "area_px": (sides.prod(axis=1), np.float32),
            "touches_border": (np.zeros(n), np.bool_),
            "overlaps": (np.zeros(n), np.bool_),
            "cell_id": (np.arange(1, n + 1), np.int64),
        }
        object.__setattr__(self, "boxes", boxes)
        for name, (default, dtype) in defaults.items():
            given = getattr(self, name)
            object.__setattr__(self, name, _rows(default if given is None else given, n, dtype))
        outlines = tuple(np.array(o, dtype=np.float32) for o in self.outlines)
        if not outlines:
            outlines = tuple(box_outline(box) for box in boxes)
        if len(outlines) != n:
            raise ValueError(f"There are {len(outlines)} outlines for {n} cells.")
        for outline in outlines:
            outline.setflags(write=False)
        object.__setattr__(self, "outlines", outlines)
        if len(np.unique(self.cell_id)) != n:
            raise ValueError("Every cell of an image needs its own cell_id.")

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: Any) -> Cells:  # noqa: ANN401
        """Return the cells at ``rows`` (index array, slice or bool mask), ids unchanged."""
        index = np.arange(len(self))[rows]
        columns: dict[str, Any] = {name: getattr(self, name)[index] for name in CELL_COLUMNS}
        outlines = tuple(self.outlines[i] for i in index)
        return Cells(self.boxes[index], outlines, **columns, others=self.others)

    def among(self, rows: slice | NDArray[Any]) -> Cells:
        """Return the cells at ``rows`` as `take` does, with the rest of these cells as their `others`."""
        rest = np.delete(np.arange(len(self)), rows)
        return replace(self.take(rows), others=(*self.others, *(self.outlines[i] for i in rest)))

    def table(self) -> pd.DataFrame:
        """Return one row per cell with the columns that tables and layers share."""
        columns: dict[str, Any] = {"cell_id": self.cell_id}
        columns |= dict(zip(BOX_COLUMNS, self.boxes.T, strict=True))
        columns |= {name: getattr(self, name) for name in CELL_COLUMNS if name != "cell_id"}
        return pd.DataFrame(columns)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return plain arrays that ``numpy.savez`` takes; `from_arrays` is the way back."""
        columns = {name: getattr(self, name) for name in CELL_COLUMNS}
        others = _joined("other", self.others) if self.others else {}
        return {"boxes": self.boxes, **_joined("outline", self.outlines), **others, **columns}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Cells:
        """Return the cells that `arrays` wrote."""
        columns = {name: arrays[name] for name in CELL_COLUMNS}
        others = _apart("other", arrays) if "other_sizes" in arrays else ()
        return cls(arrays["boxes"], _apart("outline", arrays), **columns, others=others)

    @classmethod
    def from_table(cls, table: pd.DataFrame, outlines: tuple[NDArray[np.float32], ...] = ()) -> Cells:
        """Return the cells of a table with at least ``y0, x0, y1, x1``."""
        boxes = table[BOX_COLUMNS].to_numpy(np.float32)
        known = {name: table[name].to_numpy() for name in CELL_COLUMNS if name in table}
        return cls(boxes, outlines, **known)


CELL_COLUMNS = ("detection_score", "area_px", "touches_border", "overlaps", "cell_id")


def box_outline(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the four corners ``(4, 2)`` of a box ``y0, x0, y1, x1``, clockwise from the top left."""
    y0, x0, y1, x1 = box
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], dtype=np.float32)


def polygon_area(points: NDArray[np.floating[Any]]) -> float:
    """Return the area of a polygon ``(n_points, 2)`` in square pixels (shoelace formula)."""
    y, x = points.T.astype(np.float64)
    y_before, x_before = (np.concatenate([part[-1:], part[:-1]]) for part in (y, x))  # np.roll is slow
    return float(abs(np.dot(y, x_before) - np.dot(x, y_before)) / 2)


def is_box(outline: NDArray[np.float32], box: NDArray[np.float32]) -> bool:
    """Return whether an outline is no more than the corners of its box."""
    return len(outline) == 4 and np.array_equal(outline, box_outline(box))


def has_outline(cells: Cells) -> NDArray[np.bool_]:
    """Return a mask ``(n_cells,)`` of the cells whose outline is more than their box."""
    pairs = zip(cells.outlines, cells.boxes, strict=True)
    return np.array([not is_box(outline, box) for outline, box in pairs], dtype=bool)


@dataclass(frozen=True, eq=False)
class CellScores:
    """The scores of the cells of one bag, row for row as its cells; what is unknown is NaN.

    Parameters
    ----------
    table
        One row per cell: ``anomaly``, ``anomaly_se``, ``anomaly_percentile``,
        ``anomaly_percentile_se``, ``anomaly_p``, ``anomaly_q``, ``attention``, ``attention_x_n``,
        ``pool_weight``, ``contribution_<class>``, ``status``.
    """

    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class BagScore:
    """Prediction, verdict and statistics of one bag."""

    bag: str
    predicted: str
    probability: dict[str, float]
    n_cells: int
    anomaly_p95: float
    share_q05: float
    logit: dict[str, float]
    bias: dict[str, float]
    """The part of each logit that no cell contributes; with the contributions it is the logit."""
    novelty_p: float = float("nan")
    """p-value of novelty: share of bags of known classes at least this far from all; NaN if not known."""
    verdict: str = ""
    """A class, ``unlike anything seen`` or ``abstain``."""
    caveat: str = ""
    """Reason why its images look foreign to the model, in a sentence; empty where they do not."""
    abnormal_share: float = float("nan")
    """Share of cells that are not from the control population, and the ends of its 90 % interval; NaN if
    not known."""
    abnormal_share_low: float = float("nan")
    abnormal_share_high: float = float("nan")
    sample_p: float = float("nan")
    """Probability of a mean score this high or higher in a new control sample; NaN if not known."""
    class_set: tuple[str, ...] = ()
    """Classes that hold the true one in nine of ten new patients; none where that is not known."""
    image_weight: float = float("nan")
    """Weight of the images in the mixture with clinical values, 0 to 1; NaN without a mixture."""
    diameter_px: float = float("nan")
    """Median diameter of its cells in pixels, over its images; NaN if not known."""
    diameter_confidence: float = float("nan")
    """Lowest confidence in the cell size among its images, from 0 to 1; NaN for given cells."""
    clinical: dict[str, float] = field(default_factory=dict)
    """Contribution of each clinical value to the disease, or to the predicted class of several."""

    def row(self) -> dict[str, Any]:
        """Return the row of the bag table."""
        columns = {column_name(PROBABILITY, name): value for name, value in self.probability.items()}
        clinical = {column_name(CLINICAL, name): value for name, value in self.clinical.items()}
        if self.clinical:
            clinical = {"image_weight": self.image_weight} | clinical
        return {
            "bag": self.bag,
            "predicted": self.predicted,
            "class_set": CLASS_SEPARATOR.join(self.class_set),
            **columns,
            "n_cells": self.n_cells,
            "anomaly_p95": self.anomaly_p95,
            "abnormal_share": self.abnormal_share,
            "abnormal_share_low": self.abnormal_share_low,
            "abnormal_share_high": self.abnormal_share_high,
            "sample_p": self.sample_p,
            "share_q05": self.share_q05,
            "novelty_p": self.novelty_p,
            "verdict": self.verdict,
            "caveat": self.caveat,
            "diameter_px": self.diameter_px,
            "diameter_confidence": self.diameter_confidence,
            **clinical,
        }


@dataclass(frozen=True, eq=False)
class Bag:
    """One sample of one patient: its images and cells, label, clinical values and acquisition.

    Parameters
    ----------
    bag, patient
        Names; a patient may have several bags.
    images
        Paths of the images, as the user wrote them (relative to the cohort's root).
    cells
        ``image -> Cells``; empty until the cells are detected.
    label
        Class name, or None where it is unknown.
    fold
        Number of the fold that holds this bag out, or None.
    cell_type
        ``image -> (n_cells,)`` names, truth for evaluation and never an input.
    acquisition
        Acquisition of the sample (site, stain, scanner ...), to find confounders; never an input.
    slides
        ``image -> slide`` where it is known; cells of one slide are never on both sides of a calibration.
    control_reference
        Whether cells of a control bag are what others are measured against; else they teach the classes, and
        how unusual normal cells of other slides are.
    """

    bag: str
    patient: str
    images: tuple[str, ...]
    cells: dict[str, Cells] = field(default_factory=dict)
    label: str | None = None
    fold: int | None = None
    clinical: dict[str, float | str] = field(default_factory=dict)
    cell_type: dict[str, NDArray[np.str_]] = field(default_factory=dict)
    acquisition: dict[str, str] = field(default_factory=dict)
    slides: dict[str, str] = field(default_factory=dict)
    control_reference: bool = True

    @property
    def n_cells(self) -> int:
        """Number of cells over all images."""
        return sum(len(cells) for cells in self.cells.values())

    def with_cells(self, cells: dict[str, Cells]) -> Bag:
        """Return the same bag with these cells."""
        return replace(self, cells=cells)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Bags with their class names.

    Parameters
    ----------
    root
        Folder that image paths are relative to.
    classes, control
        Names of all classes, and of that of the controls.
    layout
        Name of the layout it was read from; ``""`` for loose images.
    notes
        Files and rows skipped in reading, a phrase each.
    """

    root: str
    bags: tuple[Bag, ...]
    classes: tuple[str, ...]
    control: str = "control"
    layout: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.bags:
            raise CohortError(f"The cohort '{self.root}' holds no bag; see the formats in the documentation.")
        if self.control not in self.classes:
            known = ", ".join(self.classes)
            raise CohortError(
                f"The control class '{self.control}' is not among the classes ({known}); "
                "name it with --control or in the settings."
            )

    def __len__(self) -> int:
        return len(self.bags)

    def __iter__(self) -> Iterator[Bag]:
        return iter(self.bags)

    def where(self, keep: Any) -> Cohort:  # noqa: ANN401
        """Return the cohort of the bags for which ``keep(bag)`` is true, same classes."""
        return replace(self, bags=tuple(bag for bag in self.bags if keep(bag)))
