"""Detection metrics by value, and validation of a detector."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.settings import DetectionSettings, RunSettings, SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.synth import SyntheticSmear
from napari_amil.core.detection.validation import (
    DetectionCount,
    Validation,
    ValidationField,
    average_precision,
    box_iou,
    count_centres,
    counted,
    matched,
)

GRID = np.array([[y, x, y + 20, x + 20] for y in range(0, 200, 40) for x in range(0, 400, 40)], np.float32)


def found(boxes: NDArray[np.float32], scores: NDArray[np.float64]) -> Cells:
    return Cells(boxes, detection_score=scores)


def test_perfect_boxes_have_precision_1_also_beyond_a_hundred() -> None:
    many = np.concatenate([GRID, GRID + np.float32(1000), GRID + np.float32(2000)])
    figures = average_precision([(Cells(many), found(many, np.linspace(0.1, 1, len(many))))])
    assert figures == {"ap50": 1, "ap50_95": 1, "average_recall": 1}


def test_shifted_boxes_count_up_to_their_agreement() -> None:
    shifted = GRID + np.float32([0, 5, 0, 5])  # 15 of 25: an intersection over union of 0.6
    assert box_iou(GRID[:1], shifted[:1]).item() == pytest.approx(0.6)
    figures = average_precision([(Cells(GRID), found(shifted, np.ones(len(GRID))))])
    assert figures["ap50"] == 1
    assert figures["ap50_95"] == pytest.approx(3 / 10)  # 0.5, 0.55 and 0.6
    assert figures["average_recall"] == pytest.approx(3 / 10)


def test_a_false_cell_hurts_by_its_score() -> None:
    false = np.array([[500, 500, 520, 520]], np.float32)
    boxes = np.concatenate([GRID, false])
    last = average_precision([(Cells(GRID), found(boxes, np.r_[np.full(50, 0.9), 0.1]))])
    first = average_precision([(Cells(GRID), found(boxes, np.r_[np.full(50, 0.9), 0.95]))])
    assert last["ap50"] == 1
    assert first["ap50"] == pytest.approx(50 / 51, abs=1e-3)
    half = average_precision([(Cells(GRID), found(GRID[::2], np.ones(25)))])
    assert half["ap50"] == pytest.approx(51 / 101)  # 101 recalls are looked at, 0 to 0.5 are reached


def test_without_cells_nothing_is_known() -> None:
    none = Cells(np.zeros((0, 4), np.float32))
    assert all(math.isnan(value) for value in average_precision([(none, none)]).values())
    assert average_precision([(Cells(GRID), none)])["ap50"] == 0


def test_cells_are_matched_one_to_one() -> None:
    twice = np.concatenate([GRID[:3], GRID[:3] + np.float32(1)])
    assert matched(Cells(GRID), Cells(twice)) == 3
    figures = counted([(Cells(GRID), Cells(twice)), (Cells(GRID), Cells(GRID))], [True, False])
    assert figures["recall"] == pytest.approx(53 / 100)
    assert figures["precision"] == pytest.approx(3 / 6)
    assert figures["count_error"] == pytest.approx(44 / 50)


def test_images_of_which_not_all_is_annotated_judge_recall_alone(
    smear: SyntheticSmear, normalised: NDArray[np.float32], detector: MaskRCNN
) -> None:
    settings = RunSettings(
        detection=DetectionSettings(candidate_score=0.0, max_cells=60),
        selection=SelectionSettings(min_score=0.0, min_diameter=0.0, max_diameter=10.0),
    )
    cpu = torch.device("cpu")
    whole, part = (
        Validation([ValidationField(normalised, smear.cells, complete)], settings, cpu)(detector)
        for complete in (True, False)
    )
    assert all(0 <= value < 5 for value in whole.values())
    assert part["recall"] == whole["recall"]
    assert part["average_recall"] == whole["average_recall"]
    assert all(math.isnan(part[name]) for name in ("ap50", "ap50_95", "precision", "count_error"))


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
