"""Outlines follow the soft mask, areas are those of geometry, and shared areas those of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from napari_amil.core.base.types import box_outline, polygon_area
from napari_amil.core.detection.outlines import mask_outline, shared_area


def round_mask(side: int = 28) -> NDArray[np.float32]:
    """Return a soft mask whose half level is the circle that fills the grid."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    return np.clip(0.5 + (0.5 - np.hypot(y, x)) * side, 0, 1).astype(np.float32)


def square(y: float, x: float, side: float) -> NDArray[np.float32]:
    return box_outline(np.array([y, x, y + side, x + side], np.float32))


def shared(*outlines: NDArray[np.float32]) -> tuple[list[list[int]], list[float]]:
    boxes = np.array([[*o.min(axis=0), *o.max(axis=0)] for o in outlines], np.float32)
    areas = np.array([polygon_area(o) for o in outlines], np.float32)
    pairs, share = shared_area(boxes, outlines, areas)
    return pairs.tolist(), share.tolist()


def test_a_full_mask_has_the_box_as_outline() -> None:
    box = np.array([10, 20, 50, 44], np.float32)
    outline = mask_outline(np.ones((28, 28), np.float32), box)
    np.testing.assert_allclose(outline.min(axis=0), [10, 20], atol=0.01)
    np.testing.assert_allclose(outline.max(axis=0), [50, 44], atol=0.01)
    assert polygon_area(outline) == pytest.approx(40 * 24, rel=0.01)


@pytest.mark.parametrize("box", [(0, 0, 40, 40), (3.5, 100.25, 33.5, 180.25)])
def test_a_round_mask_has_the_ellipse_of_its_box_as_outline(box: tuple[float, ...]) -> None:
    y0, x0, y1, x1 = box
    outline = mask_outline(round_mask(), np.array(box, np.float32))
    assert outline.dtype == np.float32
    assert 8 <= len(outline) <= 40
    radii = np.hypot(
        (outline[:, 0] - (y0 + y1) / 2) / (y1 - y0) * 2, (outline[:, 1] - (x0 + x1) / 2) / (x1 - x0) * 2
    )
    np.testing.assert_allclose(radii, 1, atol=0.06)
    assert polygon_area(outline) == pytest.approx(np.pi / 4 * (y1 - y0) * (x1 - x0), rel=0.05)


def test_an_empty_mask_has_the_box_as_outline() -> None:
    box = np.array([1, 2, 3, 4], np.float32)
    np.testing.assert_array_equal(mask_outline(np.zeros((28, 28), np.float32), box), box_outline(box))


def test_specks_beside_the_cell_are_left_out() -> None:
    mask = round_mask()
    mask[mask < 1] = 0
    mask[0, 0] = 1
    outline = mask_outline(mask, np.array([0, 0, 28, 28], np.float32))
    assert np.hypot(*(outline - 14).T).max() < 15


@settings(deadline=None)
@given(st.floats(0.5, 100), st.floats(0.5, 100), st.floats(-50, 500), st.floats(-50, 500), st.booleans())
def test_the_area_of_a_rectangle(height: float, width: float, y: float, x: float, clockwise: bool) -> None:
    points = np.array([[y, x], [y, x + width], [y + height, x + width], [y + height, x]])
    assert polygon_area(points if clockwise else points[::-1]) == pytest.approx(height * width, rel=1e-6)


def test_cells_that_merely_touch_do_not_overlap() -> None:
    assert shared(square(0, 0, 10), square(0, 10, 10), square(30, 30, 5)) == ([], [])


def test_the_shared_part_is_of_the_smaller_cell() -> None:
    pairs, share = shared(square(0, 0, 20), square(10, 10, 10), square(0, 15, 20))
    found = dict(zip(map(tuple, pairs), share, strict=True))
    assert found == pytest.approx({(0, 1): 1.0, (0, 2): 0.25, (1, 2): 0.5})


def test_boxes_that_overlap_without_their_outlines_make_no_pair() -> None:
    lower_left = np.array([[0, 0], [20, 0], [20, 20]], np.float32)
    upper_right = np.array([[0, 2], [0, 20], [18, 20]], np.float32)
    assert shared(lower_left, upper_right) == ([], [])


def test_no_cells_no_pairs() -> None:
    pairs, share = shared_area(np.zeros((0, 4), np.float32), (), np.zeros(0, np.float32))
    assert pairs.shape == (0, 2)
    assert share.shape == (0,)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(4, 20)), min_size=2, max_size=12)
)
def test_pairs_are_those_of_whole_masks(corners: list[tuple[int, int, int]]) -> None:
    outlines = [square(*corner) for corner in corners]
    masks = [polygon2mask((70, 70), outline - 0.5) for outline in outlines]
    wanted = {}
    for first in range(len(masks)):
        for second in range(first + 1, len(masks)):
            smaller = min(masks[first].sum(), masks[second].sum())
            share = (masks[first] & masks[second]).sum() / smaller
            if share > 0.02:
                wanted[first, second] = share
    pairs, share = shared(*outlines)
    found = dict(zip(map(tuple, pairs), share, strict=True))
    assert found.keys() == wanted.keys()
    assert all(found[pair] == pytest.approx(wanted[pair], rel=1e-5) for pair in wanted)
