"""Crops show each cell at the scale of its field, and background where there is nothing to show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_amil.core.base.settings import CropSettings
from napari_amil.core.images.crops import extract_crops

WHOLE = CropSettings(size_px=64, field=1.6, outside_margin=None)


def field(height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def test_a_window_of_the_size_of_the_crop_is_copied() -> None:
    image = field()
    crops = extract_crops(image, np.array([[40, 60, 80, 100]]), 40.0, WHOLE)
    assert crops.dtype == np.float32
    np.testing.assert_allclose(crops[0], np.moveaxis(image[28:92, 48:112], -1, 0), atol=1e-5)


def test_outside_the_field_is_background() -> None:
    image = np.zeros((100, 100, 3), np.float32)
    crop = extract_crops(image, np.array([[-20, -20, 20, 20]]), 40.0, WHOLE)[0]
    np.testing.assert_allclose(crop[:, :32], 1.0)
    np.testing.assert_allclose(crop[:, :, :32], 1.0)
    np.testing.assert_allclose(crop[:, 32:, 32:], 0.0)


def test_outside_the_widened_box_is_background() -> None:
    image = np.zeros((120, 160, 3), np.float32)
    settings = CropSettings(size_px=64, field=1.6, outside_margin=0.05)
    crop = extract_crops(image, np.array([[50, 60, 70, 100]]), 40.0, settings)[0]
    assert np.flatnonzero(crop[0].min(axis=1) < 0.5).tolist() == list(range(20, 44))
    assert np.flatnonzero(crop[0].min(axis=0) < 0.5).tolist() == list(range(10, 54))
    assert set(np.unique(crop)) == {0.0, 1.0}


def test_size_is_kept() -> None:
    image = np.ones((200, 200, 3), np.float32)
    image[40:60, 40:60] = 0
    image[120:160, 120:160] = 0
    boxes = np.array([[40, 40, 60, 60], [120, 120, 160, 160]])
    dark = (1 - extract_crops(image, boxes, 40.0, WHOLE)[:, 0]).sum(axis=(1, 2))
    np.testing.assert_allclose(dark, [400, 1600], rtol=1e-5)


def test_a_large_field_is_averaged_and_not_sampled() -> None:
    rows, columns = np.indices((512, 512))
    image = ((rows + columns) % 2).astype(np.float32)[..., None].repeat(3, axis=-1)
    crop = extract_crops(image, np.array([[156, 156, 356, 356]]), 160.0, WHOLE)[0]
    np.testing.assert_allclose(crop, 0.5, atol=0.13)
    assert crop.mean() == pytest.approx(0.5, abs=0.01)


def test_no_cells_no_crops() -> None:
    assert extract_crops(field(), np.empty((0, 4)), 40.0, WHOLE).shape == (0, 3, 64, 64)


@given(st.permutations(range(6)), st.floats(20, 90))
def test_a_crop_does_not_depend_on_the_others(order: list[int], diameter: float) -> None:
    corners = np.random.default_rng(1).uniform(0, 100, (6, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + 30], axis=1)
    settings = CropSettings(size_px=32)
    together = extract_crops(field(), boxes[order], diameter, settings)
    alone = [extract_crops(field(), boxes[i : i + 1], diameter, settings)[0] for i in order]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)
    assert together.min() >= -1e-6
    assert together.max() <= 1 + 1e-6
