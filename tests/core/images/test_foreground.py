"""Foreground, holes, typical diameter and scale, by geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.draw import disk

from napari_amil.core.images.foreground import (
    REFERENCE_DIAMETER_PX,
    fill_small_holes,
    foreground_mask,
    network_scale,
    typical_diameter,
)

RED_CELL = (0.85, 0.5, 0.62)


def field(
    cells: list[tuple[float, float, float]], shape: tuple[int, int] = (200, 260)
) -> NDArray[np.float32]:
    """Return a normalised field with round cells ``y, x, diameter``."""
    pixels = np.ones((*shape, 3), np.float32)
    for y, x, diameter in cells:
        pixels[disk((y, x), diameter / 2, shape=shape)] = RED_CELL
    return pixels


def test_cells_are_foreground_and_background_is_not() -> None:
    mask = foreground_mask(field([(60, 60, 40), (120, 200, 40)]))
    assert mask.dtype == bool
    assert mask[60, 60]
    assert mask[120, 200]
    assert not mask[160, 60]
    assert mask.sum() == pytest.approx(2 * np.pi * 20**2, rel=0.1)


@pytest.mark.parametrize("level", [0.95, 1.0])
def test_an_empty_field_has_no_foreground(level: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (100, 120, 3))
    assert not foreground_mask(np.clip(level + noise, 0, 1).astype(np.float32)).any()
    assert not foreground_mask(np.full((64, 64, 3), level, np.float32)).any()


def test_small_holes_are_filled_and_large_ones_are_not() -> None:
    mask = np.ones((60, 60), bool)
    mask[10:14, 10:14] = False
    mask[30:40, 30:40] = False
    filled = fill_small_holes(mask, 16)
    assert filled[10:14, 10:14].all()
    assert not filled[30:40, 30:40].any()
    assert fill_small_holes(mask, 15).sum() == mask.sum()
    assert mask[10:14, 10:14].sum() == 0


@pytest.mark.parametrize("value", [True, False])
def test_a_mask_of_one_value_stays(value: bool) -> None:
    mask = np.full((20, 20), value)
    np.testing.assert_array_equal(fill_small_holes(mask, 50), mask)


@pytest.mark.parametrize("diameter", [20, 40, 80])
def test_the_diameter_of_round_cells(diameter: int) -> None:
    cells = [(y, x, diameter) for y in (100, 300) for x in (100, 250, 400)]
    assert typical_diameter(field(cells, (400, 500))) == pytest.approx(diameter, abs=2.5)


def test_pallor_does_not_shrink_a_cell() -> None:
    pixels = field([(100, 130, 40)])
    pixels[disk((100, 130), 8)] = 1
    assert typical_diameter(pixels) == pytest.approx(40, abs=2.5)


def test_dirt_does_not_outvote_cells() -> None:
    specks = [(10 + 12 * i, 10 + 12 * j, 9) for i in range(15) for j in range(6)]
    cells = [(y, x, 40) for y in (40, 100, 160) for x in (150, 220)]
    assert typical_diameter(field([*specks, *cells])) == pytest.approx(40, abs=2.5)


def test_cut_cells_clumps_and_rods_do_not_count() -> None:
    pixels = field([(5, 100, 60), (100, 130, 40), (40, 20, 40), (40, 50, 40), (40, 80, 40)])
    pixels[150:158, 20:120] = RED_CELL
    assert typical_diameter(pixels) == pytest.approx(40, abs=2.5)


def test_a_field_without_a_cell_that_stands_alone_has_no_diameter() -> None:
    assert np.isnan(typical_diameter(np.ones((80, 80, 3), np.float32)))
    assert np.isnan(typical_diameter(field([(0, 0, 60)])))


@settings(deadline=None, max_examples=10)
@given(st.floats(0, 20), st.floats(0, 20))
def test_the_diameter_does_not_depend_on_the_place(dy: float, dx: float) -> None:
    cells = [(60 + dy, 60 + dx, 40), (140 + dy, 180 + dx, 40)]
    assert typical_diameter(field(cells)) == pytest.approx(40, abs=2.5)


@given(st.floats(0.75, 1.33))
def test_biology_is_left_alone(ratio: float) -> None:
    assert network_scale(ratio * REFERENCE_DIAMETER_PX) == 1.0


@given(st.one_of(st.floats(5, 29.9), st.floats(53.3, 2000)))
def test_another_magnification_is_undone(diameter: float) -> None:
    assert network_scale(diameter) * diameter == pytest.approx(REFERENCE_DIAMETER_PX)


def test_an_unknown_diameter_changes_nothing() -> None:
    assert network_scale(float("nan")) == 1.0


def test_windows_of_a_field_are_counted_together() -> None:
    small, large = field([(60, 60, 20), (120, 180, 20)]), field([(60, 60, 40), (120, 180, 40), (60, 180, 40)])
    assert typical_diameter(small, large, np.ones((50, 50, 3), np.float32)) == pytest.approx(40, abs=2.5)
    assert typical_diameter(small) == pytest.approx(20, abs=2.5)
