"""Normalised fields have a white background and one stain strength, whatever light and stain were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.draw import disk

from napari_amil.core.base.settings import NormalisationSettings
from napari_amil.core.base.types import Image
from napari_amil.core.images.normalise import Appearance, Part, background_sample, normalise

DENSITY = np.array([0.30, 0.62, 0.40])
SHOWN = 0.75
SHAPE = (160, 200)


def cell_mask() -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, bool)
    for y in (30, 80, 130):
        for x in (30, 80, 130, 175):
            mask[disk((y, x), 18, shape=SHAPE)] = True
    return mask


def smear(stain: float = 1.0, light: NDArray[np.floating] | float = 225.0) -> Image:
    """Return round cells by Beer-Lambert below a light ``(height, width, 3)`` or one colour."""
    transmittance = np.exp(-stain * DENSITY * cell_mask()[..., None])
    return np.clip(np.rint(transmittance * light), 0, 255).astype(np.uint8)


def vignette() -> NDArray[np.float64]:
    """Return a light that falls off towards one corner, yellowish."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / 200
    return (1 - 0.2 * y - 0.15 * x**2)[..., None] * np.array([235.0, 225.0, 190.0])


@pytest.mark.parametrize("stain", [0.5, 1.0, 1.8])
@pytest.mark.parametrize("light", [225.0, vignette()], ids=["even", "vignette"])
def test_background_is_white_and_cells_have_the_wanted_density(
    stain: float, light: NDArray[np.floating] | float
) -> None:
    result = normalise(smear(stain, light))
    mask = cell_mask()
    assert result.dtype == np.float32
    assert result.shape == (*SHAPE, 3)
    np.testing.assert_allclose(np.median(result[~mask], axis=0), 1, atol=0.01)
    assert result[~mask].min() > 0.95
    wanted = np.exp(-SHOWN * DENSITY)
    np.testing.assert_allclose(np.median(result[mask], axis=0), wanted, atol=0.02)


def test_the_gain_has_a_limit() -> None:
    faint = smear(0.3)
    limited = normalise(faint, NormalisationSettings(max_gain=2))
    expected = np.exp(-SHOWN * 2 * 0.3 * DENSITY)
    np.testing.assert_allclose(np.median(limited[cell_mask()], axis=0), expected, atol=0.02)
    alone = normalise(faint, NormalisationSettings(max_gain=1))
    np.testing.assert_allclose(
        np.median(alone[cell_mask()], axis=0), np.exp(-SHOWN * 0.3 * DENSITY), atol=0.02
    )


def test_one_colour_for_the_whole_field_cannot_follow_a_vignette() -> None:
    light = vignette()
    flat = normalise(smear(1.0, light), NormalisationSettings(illumination_order=0))
    fitted = normalise(smear(1.0, light), NormalisationSettings(illumination_order=2))
    background = ~cell_mask()
    assert np.ptp(fitted[background]) < 0.05 < np.ptp(flat[background])


def test_a_dark_cell_is_darker_than_a_pale_one() -> None:
    image = smear()
    pale = disk((80, 80), 18, shape=SHAPE)
    image[pale] = np.rint(225 * np.exp(-0.4 * DENSITY)).astype(np.uint8)
    result = normalise(image)
    assert result[80, 80, 1] > result[80, 30, 1] + 0.1


@pytest.mark.parametrize("value", [40, 128, 255])
def test_a_field_of_one_colour_is_background(value: int) -> None:
    np.testing.assert_allclose(normalise(np.full((64, 96, 3), value, np.uint8)), 1, atol=1e-4)


def test_white_noise_black_and_tiny_fields_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    for image in (
        rng.integers(0, 256, (40, 50, 3), dtype=np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        rng.integers(200, 256, (5, 5, 3), dtype=np.uint8),
    ):
        result = normalise(image, NormalisationSettings(illumination_order=4))
        assert np.isfinite(result).all()
        assert 0 <= result.min() <= result.max() <= 1


@settings(deadline=None, max_examples=15)
@given(st.integers(120, 240), st.floats(0.6, 1.6))
def test_exposure_and_stain_leave_no_trace(light: int, stain: float) -> None:
    reference = normalise(smear())
    assert np.abs(normalise(smear(stain, float(light))) - reference).mean() < 0.02


def test_the_image_is_not_changed() -> None:
    image = smear()
    copy = image.copy()
    normalise(image)
    np.testing.assert_array_equal(image, copy)


def test_background_is_what_is_bright_in_green() -> None:
    sample = np.full((8, 8, 3), 220, np.float32)
    sample[2:5, 2:5, 1] = 100
    bright = background_sample(sample)
    assert not bright[2:5, 2:5].any()
    assert bright.sum() == 64 - 9
    assert background_sample(np.full((4, 4, 3), 9, np.float32)).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_cells_are_found_whatever_channel_shows_them(order: tuple[int, ...]) -> None:
    faint_in_green = np.exp(-np.array([0.02, 0.6, 0.3])[list(order)] * cell_mask()[..., None]) * 220
    noise = np.random.default_rng(0).normal(0, 4, (*SHAPE, 3))
    image = np.clip(np.rint(faint_in_green + noise), 0, 255).astype(np.uint8)
    bright = background_sample(image.astype(np.float32))
    assert (bright == ~cell_mask()).mean() > 0.99


def test_a_window_is_normalised_like_the_whole() -> None:
    image = smear(1.3, vignette())
    whole = normalise(image)
    appearance = Appearance.fit([Part(image, (0, 0))], SHAPE, NormalisationSettings())
    window = appearance.normalise(Part(image[40:100, 30:190], (40, 30)))
    np.testing.assert_allclose(window, whole[40:100, 30:190], atol=1e-6)


def test_parts_of_a_field_tell_of_the_whole() -> None:
    image = smear(0.8, vignette())
    corners = [(0, 0), (0, 120), (100, 0), (100, 120), (48, 60)]
    parts = [Part(image[y : y + 60, x : x + 80], (y, x)) for y, x in corners]
    appearance = Appearance.fit(parts, SHAPE, NormalisationSettings())
    result = appearance.normalise(Part(image, (0, 0)))
    np.testing.assert_allclose(result, normalise(image), atol=0.04)
