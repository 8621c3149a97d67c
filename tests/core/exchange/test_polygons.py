"""Polygons of other programs: closed or open, and ids that are missing or taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_amil.core.base.types import polygon_area
from napari_amil.core.exchange.polygons import bounds, fill_ids, outline_of, ring, still_fits

BOX = np.array([0, 0, 4, 6], np.float32)
TRIANGLE = np.array([[0, 0], [0, 6], [4, 6]], np.float32)


def test_a_ring_is_in_x_and_y_and_the_way_back_too() -> None:
    points = ring(TRIANGLE, BOX)
    assert points == [[0, 0], [6, 0], [6, 4]]
    np.testing.assert_array_equal(outline_of(points), TRIANGLE)
    np.testing.assert_array_equal(outline_of([*points, points[0]]), TRIANGLE)


def test_an_outline_of_two_points_is_written_as_its_box() -> None:
    assert ring(TRIANGLE[:2], BOX) == [[0, 0], [6, 0], [6, 4], [0, 4]]


def test_area_and_bounds() -> None:
    assert polygon_area(TRIANGLE) == 12
    assert bounds(TRIANGLE).tolist() == BOX.tolist()


def test_an_outline_fits_its_box_within_a_pixel() -> None:
    assert still_fits(TRIANGLE + 1, BOX)
    assert not still_fits(TRIANGLE + np.float32(1.1), BOX)


@pytest.mark.parametrize("points", [[], [[0, 0]], [[0, 0], [1, 1], [0, 0]], [[0, 0], [0, 1], [0, 2]]])
def test_what_encloses_nothing_is_refused(points: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="three points"):
        outline_of(points)


@given(st.lists(st.integers(0, 6), max_size=12))
def test_ids_become_unique_and_known_ones_stay(stored: list[int]) -> None:
    ids = fill_ids(np.array(stored, dtype=float)).tolist()
    assert len(set(ids)) == len(ids)
    assert all(number > 0 for number in ids)
    for number in set(stored) - {0}:
        assert ids[stored.index(number)] == number
