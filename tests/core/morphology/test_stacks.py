"""Binary morphology of stacks equals that of scipy; the area of hulls that of scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import convex_hull_image

from napari_amil.core.morphology.geometry import hull_areas
from napari_amil.core.morphology.stacks import IN_PLANE, closed, dilated, eroded, filled, opened

BLOBS = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(12, 40, 77)), (0, 2.0, 2.0)) > 0.02


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (eroded(BLOBS, 2), ndimage.binary_erosion(BLOBS, IN_PLANE, iterations=2)),
        (dilated(BLOBS, 3), ndimage.binary_dilation(BLOBS, IN_PLANE, iterations=3)),
        (opened(BLOBS), ndimage.binary_opening(BLOBS, IN_PLANE)),
        (closed(BLOBS, 2), ndimage.binary_closing(BLOBS, IN_PLANE, iterations=2)),
        (filled(BLOBS), ndimage.binary_fill_holes(BLOBS, IN_PLANE)),
    ],
    ids=["eroded", "dilated", "opened", "closed", "filled"],
)
def test_each_operation_equals_that_of_scipy(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert 0 < theirs.sum() < theirs.size
    np.testing.assert_array_equal(ours, theirs)


def test_the_area_of_a_hull_is_that_of_scikit_image() -> None:
    blobs = BLOBS[:, :, :40]
    parts = np.concatenate([blobs, blobs & (np.indices(blobs.shape)[1:] > 25).all(axis=0)])
    expected = [convex_hull_image(mask).sum() for mask in parts]
    np.testing.assert_array_equal(hull_areas(parts), expected)
    np.testing.assert_array_equal(hull_areas(np.zeros((2, 9, 9), dtype=bool)), 0)
