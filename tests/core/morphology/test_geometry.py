"""Geometry of masks by value: discs, ellipses, squares and triangles of known size."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_amil.core.morphology import geometry
from napari_amil.core.morphology.geometry import N_ANGLES

SIDE, FINE = 96, 8
CENTRE = np.array([50.3, 45.8])
"""Centre of every shape, y and x in pixels of which the first is at 0."""
ANGLES = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES


def drawn(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return a shape ``(1, SIDE, SIDE)`` with the share of each pixel that it covers."""
    return inside.reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))[None]


AXIS = (np.arange(SIDE * FINE) + 0.5) / FINE - 0.5
Y, X = AXIS[:, None] - CENTRE[0], AXIS[None] - CENTRE[1]


def ellipse(a: float, b: float, angle: float = 0.0) -> NDArray[np.float64]:
    """Return an ellipse with the half axis ``a`` at ``angle`` from x towards y."""
    along, across = X * np.cos(angle) + Y * np.sin(angle), Y * np.cos(angle) - X * np.sin(angle)
    return drawn((along / a) ** 2 + (across / b) ** 2 <= 1)


def square(side: float) -> NDArray[np.float64]:
    return drawn((abs(Y) <= side / 2) & (abs(X) <= side / 2))


def triangle(height: float, base: float) -> NDArray[np.float64]:
    """Return an isosceles triangle with its height along x and its centroid at the centre."""
    along = X + height / 3
    return drawn((along >= 0) & (along <= height) & (abs(Y) <= base / 2 * (1 - along / height)))


def test_area_and_centroid_of_a_disc() -> None:
    disc = ellipse(20, 20)
    assert geometry.area_of(disc)[0] == pytest.approx(np.pi * 400, rel=1e-3)
    np.testing.assert_allclose(geometry.centroids(disc)[0], CENTRE, atol=1e-2)


@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0])
def test_covariances_and_axes_of_an_ellipse(angle: float) -> None:
    shape = ellipse(24, 12, angle)
    long, short = 24**2 / 4, 12**2 / 4
    (yy, yx), (xy, xx) = geometry.covariances(shape)[0]
    assert yy == pytest.approx(long * np.sin(angle) ** 2 + short * np.cos(angle) ** 2, rel=5e-3)
    assert xx == pytest.approx(long * np.cos(angle) ** 2 + short * np.sin(angle) ** 2, rel=5e-3)
    assert xy == yx == pytest.approx((long - short) * np.sin(angle) * np.cos(angle), abs=0.5)
    assert geometry.aspect_ratio(shape)[0] == pytest.approx(2.0, rel=5e-3)
    assert geometry.compactness(shape)[0] == pytest.approx(2 * 24 * 12 / (24**2 + 12**2), rel=5e-3)
    expected = 24 * 12 / np.hypot(12 * np.cos(ANGLES - angle), 24 * np.sin(ANGLES - angle))
    np.testing.assert_allclose(geometry.ellipse_radii(shape)[0], expected, rtol=5e-3)
    np.testing.assert_allclose(geometry.radii(shape)[0], expected, atol=0.3)


def test_square_has_its_moments_and_radii() -> None:
    shape = square(30)
    assert geometry.area_of(shape)[0] == pytest.approx(900, rel=5e-3)
    np.testing.assert_allclose(geometry.covariances(shape)[0], np.eye(2) * 75, atol=0.6)
    assert geometry.compactness(shape)[0] == pytest.approx(3 / np.pi, rel=5e-3)
    radius = geometry.radii(shape)[0]
    assert radius[0] == pytest.approx(15, abs=0.3)
    assert radius[N_ANGLES // 4] == pytest.approx(15, abs=0.3)
    assert radius[N_ANGLES // 8] == pytest.approx(15 * np.sqrt(2), abs=0.6)


def test_perimeter_of_polygons() -> None:
    rectangle = np.array([[[0, 0], [0, 3], [4, 3], [4, 0]]], float)
    assert geometry.perimeter(rectangle)[0] == pytest.approx(14)
    circle = geometry.outline_points(np.full((1, N_ANGLES), 20.0))
    assert geometry.perimeter(circle)[0] == pytest.approx(2 * np.pi * 20, rel=1e-3)
    assert geometry.hull_perimeter(circle)[0] == pytest.approx(2 * np.pi * 20, rel=2e-3)
    np.testing.assert_allclose(circle[0, 0], [0, 20], atol=1e-12)
    np.testing.assert_allclose(circle[0, N_ANGLES // 4], [20, 0], atol=1e-12)


def test_hull_bridges_notches() -> None:
    star = geometry.outline_points((20 * (1 + 0.3 * np.cos(4 * ANGLES)))[None])
    hull = geometry.hull_perimeter(star)[0]
    assert hull == pytest.approx(4 * np.sqrt(2) * 26, rel=0.03)  # the square of the four tips
    assert hull < 0.95 * geometry.perimeter(star)[0]


def test_skewness_is_that_of_a_triangular_distribution_and_0_of_symmetry() -> None:
    assert geometry.skewness(triangle(60, 20))[0] == pytest.approx(2 * np.sqrt(2) / 5, rel=0.02)
    assert geometry.skewness(ellipse(24, 12, 0.7))[0] == pytest.approx(0, abs=0.01)


def test_regions_of_a_few_pixels_have_no_shape() -> None:
    few = np.zeros((2, SIDE, SIDE))
    few[0, 10, 10:25] = 1
    few[1, 10, 10:26] = 1
    assert geometry.aspect_ratio(few)[0] == 1
    assert geometry.aspect_ratio(few)[1] == pytest.approx(16, rel=1e-6)
    np.testing.assert_allclose(geometry.compactness(few), [1, 16 / (2 * np.pi * (256 + 1) / 12)], rtol=1e-6)


def test_means_and_percentiles_are_those_of_the_pixels_inside() -> None:
    values = np.arange(2 * 4 * 5, dtype=float).reshape(2, 4, 5)
    where = np.zeros((2, 4, 5), bool)
    where[0, 1:3] = True  # 5, 6 ... 14
    np.testing.assert_allclose(geometry.mean_of(values, where), [9.5, np.nan])
    for percent, expected in ((0, 5), (10, 5), (50, 9), (90, 13), (100, 14)):
        np.testing.assert_allclose(geometry.percentile_of(values, where, percent), [expected, np.nan])


def test_depth_is_1_at_the_centre_of_each_cell_alone() -> None:
    masks = np.concatenate([ellipse(20, 20) > 0.5, square(30) > 0.5, np.ones((1, SIDE, SIDE), bool)])
    depth, centre = geometry.depths(masks)
    np.testing.assert_allclose(depth.max(axis=(1, 2)), 1)
    assert not depth[~masks].any()
    np.testing.assert_allclose(centre[:2], [CENTRE, CENTRE], atol=0.6)
    y, x = np.round(CENTRE).astype(int)
    assert depth[0, y, x + 10] == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(depth[0], geometry.depths(masks[:1])[0][0])
    np.testing.assert_allclose(depth[2, [0, -1]], 0)
    np.testing.assert_allclose(depth[2][:, [0, -1]], 0)
