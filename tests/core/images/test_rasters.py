"""Pixels inside many polygons are those that scikit-image draws one by one."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon

from napari_amil.core.images.rasters import polygon_pixels


@pytest.mark.parametrize("step", [0.0, 0.5, 1.0])
def test_pixels_are_those_of_scikit_image(step: float) -> None:
    generator = np.random.default_rng(1)
    polygons = [generator.uniform(-4, 16, (n, 2)) for n in generator.integers(3, 12, 60)]
    if step:
        polygons = [np.round(points / step) * step for points in polygons]  # corners and edges on pixels
    pixels = polygon_pixels([*polygons, np.zeros((0, 2))]).within((14, 14))
    for row, points in enumerate(polygons):
        y, x = polygon(points[:, 0], points[:, 1], (14, 14))
        own = pixels.owner == row
        assert set(zip(pixels.y[own], pixels.x[own], strict=True)) == set(zip(y, x, strict=True))
    assert pixels.counts(61)[60] == 0


def test_no_polygon_has_no_pixel() -> None:
    assert len(polygon_pixels([]).owner) == 0
