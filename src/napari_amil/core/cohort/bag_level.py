"""Regroup samples into bags: one per sample, per image or per patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.types import CELL_COLUMNS, Bag, Cells, Cohort
from napari_amil.core.cohort.folds import patients_of

Level = Literal["sample", "image", "patient"]


def at_level(cohort: Cohort, level: Level) -> Cohort:
    """Return the cohort, whose bags are samples, with one bag per sample, image or patient.

    Raises
    ------
    CohortError
        If samples of a patient have different labels, so that the patient has none.
    """
    if level == "sample":
        return cohort
    if level == "image":
        return replace(cohort, bags=tuple(part for bag in cohort for part in _images(bag)))
    return replace(cohort, bags=tuple(_joined(bags) for bags in patients_of(cohort).values()))


def _images(bag: Bag) -> Iterator[Bag]:
    """Yield one bag per image; a sample of one image keeps its name."""
    for image in bag.images:
        yield replace(
            bag,
            bag=bag.bag if len(bag.images) == 1 else f"{bag.bag}/{image}",
            images=(image,),
            cells={name: cells for name, cells in bag.cells.items() if name == image},
            cell_type={name: types for name, types in bag.cell_type.items() if name == image},
        )


def _joined(bags: Sequence[Bag]) -> Bag:
    """Return one bag with all cells of the bags of a patient, each once."""
    first = bags[0]
    labels = {str(bag.label) for bag in bags}
    if len(labels) > 1:
        raise CohortError(
            f"The samples of patient '{first.patient}' have the labels {', '.join(sorted(labels))}, so that "
            "the patient is no bag; set bag_level to 'sample'."
        )
    images = tuple(dict.fromkeys(image for bag in bags for image in bag.images))
    cells, cell_type = {}, {}
    for image in images:
        holders = [bag for bag in bags if image in bag.cells]
        if holders:
            cells[image], rows = _distinct([bag.cells[image] for bag in holders])
        if holders and all(image in bag.cell_type for bag in holders):
            cell_type[image] = np.concatenate([bag.cell_type[image] for bag in holders])[rows]
    slides = {image: slide for bag in bags for image, slide in bag.slides.items()}
    reference = all(bag.control_reference for bag in bags)
    joined = replace(first, bag=first.patient, images=images, slides=slides, control_reference=reference)
    return replace(joined, cells=cells, cell_type=cell_type)


def _distinct(parts: Sequence[Cells]) -> tuple[Cells, NDArray[np.int64]]:
    """Return the cells of one image from several bags, equal boxes once, and the rows that were kept."""
    boxes = np.concatenate([part.boxes for part in parts])
    rows = np.sort(np.unique(boxes, axis=0, return_index=True)[1])
    outlines = [outline for part in parts for outline in part.outlines]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])[rows] for name in CELL_COLUMNS
    }
    if len(np.unique(columns["cell_id"])) < len(rows):  # numbered in each bag by itself
        columns["cell_id"] = np.arange(1, len(rows) + 1)
    return Cells(boxes[rows], tuple(outlines[row] for row in rows), **columns), rows
