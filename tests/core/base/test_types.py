"""Rows of cells keep together and their ids; what is wrong is refused."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.types import CELL_COLUMNS, Bag, BagScore, Cells, Cohort, box_outline

BOXES = np.array([[0, 0, 10, 20], [5, 5, 25, 15], [30, 0, 34, 4]], np.float32)


@st.composite
def some_cells(draw: st.DrawFn) -> Cells:
    n = draw(st.integers(0, 8))
    corners = np.array(draw(st.lists(st.tuples(*[st.integers(0, 500)] * 2), min_size=n, max_size=n)))
    boxes = np.concatenate([corners.reshape(n, 2), corners.reshape(n, 2) + 30], axis=1)
    sizes = draw(st.lists(st.integers(3, 9), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return Cells(
        boxes,
        tuple(rng.random((size, 2)) for size in sizes),
        detection_score=rng.random(n),
        area_px=rng.random(n),
        touches_border=rng.random(n) < 0.5,
        overlaps=rng.random(n) < 0.5,
        cell_id=rng.permutation(1000)[:n] + 1,
        others=tuple(rng.random((size, 2)) for size in sizes[:3]),
    )


def assert_same(found: Cells, wanted: Cells) -> None:
    for name, values in wanted.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], values, err_msg=name)


def test_what_is_not_given_follows_from_the_boxes() -> None:
    cells = Cells(BOXES)
    assert len(cells) == 3
    assert cells.cell_id.tolist() == [1, 2, 3]
    assert cells.area_px.tolist() == [200, 200, 16]
    assert np.isnan(cells.detection_score).all()
    assert not cells.touches_border.any()
    assert cells.outlines[1].tolist() == [[5, 5], [5, 15], [25, 15], [25, 5]]
    np.testing.assert_array_equal(cells.outlines[0], box_outline(BOXES[0]))


@pytest.mark.parametrize("box", [[0, 0, 0, 5], [0, 5, 9, 4], [0, 0, np.nan, 5], [0, 0, np.inf, 5]])
def test_a_box_without_an_area_is_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="finite y0 < y1 and x0 < x1"):
        Cells(np.array([box]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"detection_score": np.ones(2)}, r"shape \(2,\), but there are 3 cells"),
        ({"cell_id": np.array([4, 4, 5])}, "its own cell_id"),
        ({"outlines": (np.zeros((3, 2)),)}, "1 outlines for 3 cells"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cells(BOXES, **columns)


def test_cells_are_frozen_and_what_they_came_from_is_not() -> None:
    boxes, score, outline = BOXES.copy(), np.ones(3, np.float32), np.zeros((3, 2), np.float32)
    cells = Cells(boxes, (outline,) * 3, detection_score=score)
    for mine, theirs in ((boxes, cells.boxes), (score, cells.detection_score), (outline, cells.outlines[0])):
        mine[0] = 7
        assert (theirs != 7).any()
        with pytest.raises(ValueError, match="read-only"):
            theirs[0] = 9


@settings(deadline=None)
@given(some_cells(), st.data())
def test_taking_rows_keeps_them_together(cells: Cells, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(cells) - 1), unique=True)) if len(cells) else []
    taken = cells.take(np.array(rows, dtype=int))
    assert len(taken) == len(rows)
    for new, old in enumerate(rows):
        assert all(getattr(taken, name)[new] == getattr(cells, name)[old] for name in CELL_COLUMNS)
        np.testing.assert_array_equal(taken.boxes[new], cells.boxes[old])
        np.testing.assert_array_equal(taken.outlines[new], cells.outlines[old])
    mask = np.isin(np.arange(len(cells)), rows)
    assert_same(cells.take(mask), cells.take(np.sort(np.array(rows, dtype=int))))
    assert_same(cells.take(slice(None)), cells)


@settings(deadline=None)
@given(some_cells())
def test_arrays_travel_without_pickle(cells: Cells) -> None:
    file = io.BytesIO()
    np.savez(file, **cells.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        assert_same(Cells.from_arrays(arrays), cells)


@settings(deadline=None)
@given(some_cells())
def test_tables_have_the_shared_columns_and_come_back(cells: Cells) -> None:
    table = cells.table()
    assert list(table) == [
        *("cell_id", "y0", "x0", "y1", "x1"),
        *("detection_score", "area_px", "touches_border", "overlaps"),
    ]
    assert_same(Cells.from_table(table, cells.outlines), replace(cells, others=()))


def test_a_table_of_boxes_alone_makes_cells() -> None:
    cells = Cells.from_table(pd.DataFrame(BOXES, columns=["y0", "x0", "y1", "x1"]))
    assert_same(cells, Cells(BOXES))


def test_among_keeps_the_rest_of_the_cells_as_others() -> None:
    outside = np.zeros((3, 2), np.float32)
    cells = replace(Cells(BOXES), others=(outside,))
    for rows in (np.array([False, True, False]), np.array([1]), slice(1, 2)):
        found = cells.among(rows)
        assert found.cell_id.tolist() == [2]
        wanted = (outside, box_outline(BOXES[0]), box_outline(BOXES[2]))
        for outline, expected in zip(found.others, wanted, strict=True):
            np.testing.assert_array_equal(outline, expected)
    assert len(cells.take([1]).others) == 1


def bags() -> tuple[Bag, ...]:
    return (
        Bag("b1", "p1", ("a.png", "b.png"), label="control", fold=0),
        Bag("b2", "p2", ("c.png",), label="thalassaemia", fold=1),
    )


def test_a_bag_counts_the_cells_of_all_its_images() -> None:
    bag = bags()[0]
    assert bag.n_cells == 0
    filled = bag.with_cells({"a.png": Cells(BOXES), "b.png": Cells(BOXES[:1])})
    assert filled.n_cells == 4
    assert bag.n_cells == 0
    assert (filled.bag, filled.patient, filled.label) == ("b1", "p1", "control")


def test_a_cohort_is_its_bags() -> None:
    cohort = Cohort("root", bags(), ("control", "thalassaemia"))
    assert len(cohort) == 2
    assert [bag.bag for bag in cohort] == ["b1", "b2"]
    part = cohort.where(lambda bag: bag.fold == 1)
    assert [bag.bag for bag in part] == ["b2"]
    assert part.classes == cohort.classes


def test_an_empty_cohort_and_a_missing_control_are_refused() -> None:
    with pytest.raises(CohortError, match=r"'root' holds no bag"):
        Cohort("root", (), ("control",))
    with pytest.raises(CohortError, match=r"'healthy' is not among the classes \(control, thalassaemia\)"):
        Cohort("root", bags(), ("control", "thalassaemia"), control="healthy")


def test_the_row_of_a_bag_has_one_probability_per_class() -> None:
    score = BagScore("b1", "x", {"control": 0.2, "x": 0.8}, 9, 3.5, 0.25, {"x": 1.0}, {"x": 0.1})
    row = score.row()
    wanted = {"bag": "b1", "predicted": "x", "probability_control": 0.2, "probability_x": 0.8, "n_cells": 9}
    assert wanted.items() <= row.items()
    assert (row["anomaly_p95"], row["share_q05"]) == (3.5, 0.25)
