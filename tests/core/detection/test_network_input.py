"""The networks see a field at the size of their training, in memory or tile by tile."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_amil.core.base.settings import DetectionSettings, NormalisationSettings
from napari_amil.core.cohort.synth import SyntheticSmear
from napari_amil.core.detection.network_input import input_from_array, tiled_input
from napari_amil.core.images.fields import ArrayField


def test_a_field_of_the_reference_scale_is_left_alone(normalised: NDArray[np.float32]) -> None:
    view = input_from_array(normalised, None)
    assert view.scale == 1.0
    assert 36 < view.diameter_px < 44
    np.testing.assert_array_equal(view.pixels.numpy(), normalised.transpose(2, 0, 1))


def test_a_given_diameter_sets_the_scale(normalised: NDArray[np.float32]) -> None:
    view = input_from_array(normalised, 80.0)
    assert (view.scale, view.diameter_px) == (0.5, 80.0)
    assert view.pixels.shape == (3, normalised.shape[0] // 2, normalised.shape[1] // 2)


def test_a_field_without_cells_has_the_reference_diameter() -> None:
    view = input_from_array(np.ones((64, 64, 3), np.float32), None)
    assert (view.scale, view.diameter_px) == (1.0, 40.0)


def test_a_large_field_looks_like_one_in_memory(
    smear: SyntheticSmear, normalised: NDArray[np.float32]
) -> None:
    whole = input_from_array(normalised, None)
    parts = tiled_input(ArrayField(smear.image), DetectionSettings(), NormalisationSettings())
    assert (parts.scale, parts.size, parts.shape) == (whole.scale, whole.size, whole.shape)
    assert parts.diameter_px == pytest.approx(whole.diameter_px)
    assert parts.colour.redness == pytest.approx(whole.colour.redness)
    np.testing.assert_allclose(parts.colour.density, whole.colour.density, rtol=1e-5)
    window = slice(40, 200), slice(100, 300)
    ours, theirs = parts.tile(window), whole.tile(window)
    assert ours.corner == theirs.corner == (40, 100)
    np.testing.assert_allclose(ours.pixels, theirs.pixels, atol=1e-6)
    np.testing.assert_allclose(ours.normalised, theirs.normalised, atol=1e-6)


@pytest.mark.parametrize("diameter", [20.0, 80.0, 33.0])
def test_a_tile_is_scaled_like_the_whole(smear: SyntheticSmear, diameter: float) -> None:
    settings = DetectionSettings(cell_diameter_px=diameter)
    view = tiled_input(ArrayField(smear.image), settings, NormalisationSettings())
    assert view.scale == pytest.approx(40 / diameter)
    height, width = view.size
    whole = view.tile((slice(0, height), slice(0, width)))
    assert whole.normalised.shape[:2] == smear.image.shape[:2]
    window = slice(30, 90), slice(40, 120)
    part = view.tile(window)
    assert part.pixels.shape == (3, 60, 80)
    assert part.corner == (round(30 / view.scale), round(40 / view.scale))
    difference = (part.pixels - whole.pixels[:, window[0], window[1]]).abs()
    assert difference[:, 4:-4, 4:-4].mean() < 0.02
