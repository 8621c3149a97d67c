from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import approximate_polygon

from napari_amil.plugin.layers.fast_shapes import fastest_triangulation, simplified


def outline(seed: int, n_points: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, n_points, endpoint=False)
    radius = 20 + rng.normal(size=n_points).cumsum() / 3
    return np.stack([50 + radius * np.sin(turn), 60 + radius * np.cos(turn)], axis=1)


def distance(points: np.ndarray, polygon: np.ndarray) -> float:
    """Return how far the farthest of ``points`` lies from the line of the closed polygon."""
    start, chord = polygon, np.roll(polygon, -1, axis=0) - polygon
    offset = points[:, None] - start
    along = np.clip((offset * chord).sum(-1) / np.maximum((chord**2).sum(-1), 1e-30), 0, 1)
    return float(np.linalg.norm(offset - along[..., None] * chord, axis=-1).min(axis=1).max())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 80), st.floats(0.05, 5))
def test_no_corner_lies_farther_than_the_tolerance(seed: int, n_points: int, tolerance: float) -> None:
    drawn = [outline(seed, n_points), outline(seed + 1, 30)]
    for old, new in zip(drawn, simplified(drawn, tolerance), strict=True):
        assert len(new) >= 3
        assert {tuple(corner) for corner in new} <= {tuple(corner) for corner in old}
        assert distance(old, new) <= tolerance * (1 + 1e-9) or len(new) == len(old)


def test_it_is_the_method_of_scikit_image() -> None:
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    ring = np.stack([30 + 17 * np.sin(turn), 30 + 11 * np.cos(turn)], axis=1)
    theirs = approximate_polygon(np.vstack([ring, ring[:1]]), 0.3)[:-1]
    (ours,) = simplified([ring], 0.3)
    assert len(ours) == pytest.approx(len(theirs), abs=3)
    assert distance(ring, ours) <= 0.3


def test_few_corners_stay() -> None:
    box = np.array([[0.0, 0], [0, 9], [9, 9], [9, 0]])
    thin = np.array([[0.0, 0], [0, 1], [0, 2], [0, 3], [0, 4], [0.1, 2]])
    same, still = simplified([box, thin], 1.0)
    np.testing.assert_array_equal(same, box)
    np.testing.assert_array_equal(still, thin)
    assert simplified([], 1.0) == []


def test_no_garbage_is_collected_while_shapes_are_built() -> None:
    with fastest_triangulation():
        with fastest_triangulation():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with fastest_triangulation():
            pass
        assert not gc.isenabled()  # whoever switched it off wants it off
    finally:
        gc.enable()
