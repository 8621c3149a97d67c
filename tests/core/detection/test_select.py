"""Selecting among candidates: each filter alone, doubles, and what never changes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_amil.core.base.settings import SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates, select

OPEN = SelectionSettings(min_score=0, max_overlap=1, min_diameter=0, max_diameter=10)


def cells(boxes: list[tuple[float, ...]], scores: list[float] | None = None, **columns: object) -> Cells:
    ids = 10 * np.arange(1, len(boxes) + 1)
    scores = scores if scores is not None else [0.9] * len(boxes)
    return Cells(np.array(boxes, np.float32), detection_score=np.array(scores), cell_id=ids, **columns)


def ids(found: Cells) -> list[int]:
    return found.cell_id.tolist()


def row_of(n: int, side: float = 35, step: float = 100) -> list[tuple[float, ...]]:
    return [(0, i * step, side, i * step + side) for i in range(n)]


def test_the_score_filter_keeps_what_reaches_it() -> None:
    found = cells(row_of(3), [0.5, 0.49, 0.9])
    assert ids(select(found, OPEN.model_copy(update={"min_score": 0.5}), 40)) == [10, 30]


def test_a_cell_without_a_score_is_no_detection() -> None:
    found = cells(row_of(2), [np.nan, 0.9])
    assert ids(select(found, OPEN, 40)) == [20]


def test_sizes_are_multiples_of_the_typical_diameter() -> None:
    areas = np.pi / 4 * np.array([10, 20, 40, 100, 101]) ** 2
    found = cells(row_of(5), area_px=areas)
    limits = OPEN.model_copy(update={"min_diameter": 0.5, "max_diameter": 2.5})
    assert ids(select(found, limits, 40)) == [20, 30, 40]
    assert ids(select(found, limits, 20)) == [10, 20, 30]


def test_a_small_cell_at_the_border_may_be_a_large_one() -> None:
    found = cells(row_of(2), area_px=np.array([30.0, 30.0]), touches_border=np.array([True, False]))
    limits = OPEN.model_copy(update={"min_diameter": 0.5})
    assert ids(select(found, limits, 40)) == [10]
    assert ids(select(found, limits.model_copy(update={"keep_border": False}), 40)) == []


def test_of_two_doubles_the_better_stays() -> None:
    found = cells([(0, 0, 40, 40), (0, 10, 40, 50)], [0.8, 0.9])
    assert ids(select(found, OPEN.model_copy(update={"max_overlap": 0.5}), 40)) == [20]
    assert ids(select(found, OPEN.model_copy(update={"max_overlap": 0.8}), 40)) == [10, 20]


def test_a_dropped_cell_drops_no_other() -> None:
    chain = cells([(0, 0, 40, 40), (0, 15, 40, 55), (0, 30, 40, 70)], [0.9, 0.8, 0.7])
    assert ids(select(chain, OPEN.model_copy(update={"max_overlap": 0.5}), 40)) == [10, 30]


def test_a_cell_below_the_score_covers_nothing() -> None:
    found = cells([(0, 0, 40, 40), (0, 10, 40, 50)], [0.4, 0.3])
    small = cells([(0, 0, 40, 40), (0, 10, 40, 50)], [0.9, 0.95], area_px=[1256.0, 9000.0])
    limits = OPEN.model_copy(update={"min_score": 0.35, "max_overlap": 0.5})
    assert ids(select(found, limits, 40)) == [10]
    assert ids(select(small, limits.model_copy(update={"max_diameter": 2.0}), 40)) == [10]


def test_overlap_flags_speak_of_the_cells_that_stay() -> None:
    found = cells([(0, 0, 40, 40), (0, 30, 40, 70), (0, 200, 40, 240)], [0.9, 0.5, 0.9])
    assert select(found, OPEN, 40).overlaps.tolist() == [True, True, False]
    assert select(found, OPEN.model_copy(update={"min_score": 0.6}), 40).overlaps.tolist() == [False, False]


def test_no_candidates_no_cells() -> None:
    assert len(select(cells([], []), SelectionSettings(), 40)) == 0


@st.composite
def crowds(draw: st.DrawFn) -> Cells:
    n = draw(st.integers(1, 15))
    floats = st.floats(0, 60, width=32)
    corners = np.array([[draw(floats), draw(floats)] for _ in range(n)], np.float32)
    sides = np.array([[draw(st.floats(5, 40, width=32))] * 2 for _ in range(n)], np.float32)
    scores = np.array([draw(st.floats(0, 1, width=32)) for _ in range(n)])
    border = np.array([draw(st.booleans()) for _ in range(n)])
    numbers = np.array(draw(st.permutations(range(100, 100 + n))))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    return Cells(boxes, detection_score=scores, touches_border=border, cell_id=numbers)


def _share(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return float(sides.clip(0).prod() / smaller)


@settings(deadline=None, max_examples=60)
@given(crowds(), st.floats(0.2, 1), st.floats(0, 1), st.booleans())
def test_what_stays_is_a_part_of_what_came(
    crowd: Cells, max_overlap: float, min_score: float, border: bool
) -> None:
    candidates = Candidates.from_cells(crowd, 25)
    limits = SelectionSettings(min_score=min_score, max_overlap=max_overlap, keep_border=border)
    found = candidates.select(limits)
    rows = [crowd.cell_id.tolist().index(number) for number in found.cell_id]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(found.boxes, crowd.boxes[rows])
    np.testing.assert_array_equal(found.detection_score, crowd.detection_score[rows])
    assert (found.detection_score >= np.float32(min_score)).all() or not len(found)
    assert border or not found.touches_border.any()
    overlap = max((_share(a, b) for i, a in enumerate(found.boxes) for b in found.boxes[:i]), default=0)
    assert overlap <= max_overlap + 0.35  # pixels are counted whole: small cells are coarse
    again = Candidates.from_cells(found, 25).select(limits)
    assert ids(again) == ids(found)
    stricter = candidates.select(limits.model_copy(update={"min_score": min(1.0, min_score + 0.2)}))
    best = set(crowd.cell_id[crowd.detection_score >= min(1.0, min_score + 0.2)].tolist())
    assert set(ids(stricter)) <= best
