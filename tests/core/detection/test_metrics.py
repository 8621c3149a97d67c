"""Centres are matched one to one, and half cells are not held against the detector."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_amil.core.base.types import Cells
from napari_amil.core.detection.metrics import DetectionCount, count_centres


def cells(*boxes: tuple[float, ...], border: list[bool] | None = None) -> Cells:
    touches = np.array(border) if border is not None else None
    return Cells(np.array(boxes, np.float32).reshape(-1, 4), touches_border=touches)


def centres(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float).reshape(-1, 2)


def test_each_centre_needs_its_own_box() -> None:
    one_box = cells((0, 0, 40, 80))
    count = count_centres(one_box, centres((20, 20), (20, 60)), exhaustive=True)
    assert count == DetectionCount(n_truth=2, n_found=1, n_judged=1, n_false=0, n_doubled=0)
    assert count.recall == 0.5
    assert count.precision == 1.0


def test_a_second_box_on_the_same_cell_is_false_and_a_double() -> None:
    twice = cells((0, 0, 40, 40), (2, 2, 42, 42), (100, 100, 140, 140))
    count = count_centres(twice, centres((20, 20)), exhaustive=True)
    assert count == DetectionCount(n_truth=1, n_found=1, n_judged=3, n_false=2, n_doubled=1)
    assert count.precision == pytest.approx(1 / 3)


def test_the_matching_with_the_most_pairs_is_taken() -> None:
    nearest_first = cells((0, 0, 40, 40), (0, 15, 40, 55))
    count = count_centres(nearest_first, centres((20, 30), (20, 50)), exhaustive=True)
    assert count.n_found == 2
    greedy_trap = count_centres(nearest_first, centres((20, 34), (20, 5)), exhaustive=True)
    assert greedy_trap.n_found == 2


def test_half_cells_count_only_when_they_match() -> None:
    at_border = cells((0, 0, 40, 20), (50, 0, 90, 20), border=[True, True])
    count = count_centres(at_border, centres((20, 10)), exhaustive=True)
    assert count == DetectionCount(n_truth=1, n_found=1, n_judged=1, n_false=0, n_doubled=0)


def test_precision_is_judged_in_exhaustive_images_alone() -> None:
    found = cells((0, 0, 40, 40), (100, 100, 140, 140))
    count = count_centres(found, centres((20, 20)), exhaustive=False)
    assert count == DetectionCount(n_truth=1, n_found=1)
    assert math.isnan(count.precision)


def test_a_centre_on_the_edge_of_its_box_is_found() -> None:
    assert count_centres(cells((0, 0, 40, 40)), centres((40, 0)), exhaustive=True).n_found == 1


def test_empty_sides() -> None:
    nothing = count_centres(cells(), centres(), exhaustive=True)
    assert nothing == DetectionCount()
    assert math.isnan(nothing.recall)
    missed = count_centres(cells(), centres((1, 1)), exhaustive=True)
    assert missed.recall == 0
    false = count_centres(cells((0, 0, 9, 9)), centres(), exhaustive=True)
    assert false.precision == 0


def test_counts_of_images_add_up() -> None:
    total = sum((DetectionCount(10, 9, 12, 1, 1), DetectionCount(10, 10, 0, 0, 0)), DetectionCount())
    assert total.row() == (20, 19, 12, 1, 1)
    assert total.recall == 0.95
    assert total.precision == pytest.approx(11 / 12)
