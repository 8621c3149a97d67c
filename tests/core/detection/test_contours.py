"""Contours of many images are those that scikit-image finds one by one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from napari_amil.core.detection.contours import longest_contours


def test_longest_contours_are_those_of_scikit_image_point_by_point() -> None:
    images = np.random.default_rng(0).random((60, 20, 24))
    images[20:] = ndimage.gaussian_filter(images[20:], (0, 2, 2))
    images[30:] = 4 * (images[30:] - 0.5) + 0.45
    images[0], images[1] = 0, np.round(images[1] * 4) / 4  # nothing, and pixels that are the level
    images = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    for image, found in zip(images, longest_contours(images, 0.5), strict=True):
        contours = find_contours(image, 0.5)
        expected = max(contours, key=len)[:-1] if contours else np.zeros((0, 2))
        np.testing.assert_array_equal(found, expected)
