"""Masks of cells on their grids by value: size, neighbours, hidden and cut parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_amil.core.base.types import Cells, has_outline
from napari_amil.core.morphology.masks import GRID, STEP, cell_grid, on_grid

Draw = Callable[..., tuple[NDArray[np.float32], Cells]]
DIAMETER_PX = 40.0
DISC_PX = np.pi / 4 / STEP**2
"""Area of a typical cell in grid pixels."""
ANGLES = np.linspace(0, 2 * np.pi, 60, endpoint=False)


def circle(y: float, x: float, radius: float = 20.0) -> NDArray[np.float32]:
    return np.stack([y + radius * np.sin(ANGLES), x + radius * np.cos(ANGLES)], axis=1).astype(np.float32)


def bounds(outline: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([outline.min(axis=0), outline.max(axis=0)])


def outlined(*outlines: NDArray[np.float32]) -> Cells:
    return Cells(np.stack([bounds(outline) for outline in outlines]), outlines)


def field(*centres: tuple[float, float], shape: tuple[int, int] = (160, 200)) -> NDArray[np.float32]:
    """Return a field of discs of 40 pixels with an optical density of 0.4 in each channel."""
    y, x = np.indices(shape) + 0.5
    density = np.zeros(shape)
    for cy, cx in centres:
        density = np.maximum(density, 0.4 * np.clip(20.5 - np.hypot(y - cy, x - cx), 0, 1))
    return np.exp(-density)[..., None].repeat(3, axis=2).astype(np.float32)


def test_grid_has_40_pixels_per_typical_diameter() -> None:
    assert 1 / STEP == 40
    box = np.array([10, 20, 50, 80], np.float32)
    middle = GRID.size_px / 2
    corners = np.array([[30, 50], [10, 20], [50, 80]], np.float32)
    np.testing.assert_allclose(
        on_grid(corners, box, 20.0),
        [[middle, middle], [middle - 40, middle - 60], [middle + 40, middle + 60]],
    )


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("density", [0.2, 0.4, 0.8])
def test_disc_has_its_area_whatever_its_density_and_magnification(
    draw: Draw, scale: float, density: float
) -> None:
    grid = cell_grid(*draw(profile=lambda share: density, scale=scale), DIAMETER_PX * scale)
    assert grid.mask.sum() == pytest.approx(DISC_PX, rel=0.04)
    assert grid.soft.sum() == pytest.approx(DISC_PX, rel=0.04)
    assert not grid.hidden.any()
    assert not grid.cut.any()
    inner = grid.density[0, :, 44:52, 44:52].mean(axis=(1, 2))
    np.testing.assert_allclose(inner, density * np.array([0.6, 1.4, 1.0]), rtol=0.02)
    np.testing.assert_allclose(grid.grey, grid.density.mean(axis=1, dtype=np.float64))


def test_ellipse_keeps_its_axes(draw: Draw) -> None:
    grid = cell_grid(
        *draw(lambda angle: 0.98 / np.hypot(0.7 * np.cos(angle), 1.4 * np.sin(angle))), DIAMETER_PX
    )
    rows, columns = np.nonzero(grid.mask[0])
    assert np.ptp(columns) + 1 == pytest.approx(56, abs=3)
    assert np.ptp(rows) + 1 == pytest.approx(28, abs=3)


def test_pallor_is_part_of_the_cell(draw: Draw) -> None:
    ring = draw(profile=lambda share: np.where(share < 0.5, 0.0, 0.4))
    assert cell_grid(*ring, DIAMETER_PX).mask.sum() == pytest.approx(DISC_PX, rel=0.04)


def test_touching_neighbour_is_left_out() -> None:
    image = field((80, 80), (80, 119))
    cells = Cells(np.array([[60, 60, 100, 100], [60, 99, 100, 139]], np.float32))
    grid = cell_grid(image, cells, DIAMETER_PX)
    np.testing.assert_allclose(grid.mask.sum(axis=(1, 2)), DISC_PX, rtol=0.06)
    assert not grid.mask[0, :, 48 + 24 :].any()


def test_box_on_the_edge_of_a_neighbour_holds_no_cell() -> None:
    image = field((80, 80))
    grid = cell_grid(image, Cells(np.array([[60, 95, 100, 135]], np.float32)), DIAMETER_PX)
    assert not grid.mask.any()


def test_outline_that_pixels_contradict_is_believed() -> None:
    image = field((80, 60))
    grid = cell_grid(image, outlined(circle(80, 140)), DIAMETER_PX)
    assert grid.mask.sum() == pytest.approx(DISC_PX, rel=0.03)


def test_overlapping_outlines_hide_what_they_share() -> None:
    image = field((80, 80), (80, 100))
    first, second = circle(80, 80), circle(80, 100)
    grid = cell_grid(image, outlined(first, second), DIAMETER_PX)
    lens = 2 * 20**2 * np.arccos(0.5) - 10 * np.sqrt(4 * 20**2 - 20**2)
    np.testing.assert_allclose(grid.hidden.sum(axis=(1, 2)), lens, rtol=0.06)
    np.testing.assert_allclose(grid.mask.sum(axis=(1, 2)), DISC_PX, rtol=0.04)
    twice = cell_grid(image, outlined(first, circle(80.5, 80.5)), DIAMETER_PX)
    assert not twice.hidden.any()  # two outlines of one cell hide nothing


@pytest.mark.parametrize(
    ("centre", "cut"),
    [((80, 15), True), ((80, 185), True), ((15, 80), True), ((145, 80), True), ((80, 80), False)],
)
def test_cells_at_each_border_are_cut(centre: tuple[float, float], cut: bool) -> None:
    y, x = centre
    box = np.clip([y - 20, x - 20, y + 20, x + 20], 0, [160, 200, 160, 200]).astype(np.float32)
    assert cell_grid(field(centre), Cells(box[None]), DIAMETER_PX).cut.tolist() == [cut]


def test_only_outlines_that_are_more_than_a_box_count() -> None:
    cells = Cells(np.array([[0, 0, 9, 9]], np.float32))
    assert has_outline(cells).tolist() == [False]
    assert has_outline(outlined(circle(50, 50))).tolist() == [True]
