"""Black and white levels of samples with more than 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_amil.core.images.fields import as_field
from napari_amil.core.images.refusals import UnusableError
from napari_amil.core.images.samples import Levels, Samples, to_rgb

BYTES = np.random.default_rng(0).integers(60, 251, (60, 70, 3), dtype=np.uint8)
"""What every camera below has seen, with 8 bits."""
TWELVE = np.rint(BYTES / 255 * 4095).astype(np.uint16)


def hot(values: NDArray[Any]) -> NDArray[Any]:
    values = values.copy()
    values[5, 5] = 9 * values.max() if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    return values


CAMERAS: dict[str, tuple[NDArray[Any], float, float]] = {
    "12 bits in 16": (TWELVE, 0, 4095),
    "12 bits shifted by 4": (TWELVE << 4, 0, 4095 << 4),
    "12 bits on an offset": (TWELVE + np.uint16(32768), 32768, 32768 + 4095),
    "8 bits in 16": (BYTES.astype(np.uint16), 0, 255),
    "8 bits shifted by 8": (BYTES.astype(np.uint16) << 8, 0, 255 << 8),
    "8 bits spread over 16": (BYTES.astype(np.uint16) * 257, 0, 65535),
    "whole 16 bits": ((BYTES / 255 * 65535).astype(np.uint16), 0, 65535),
    "fractions of 1": ((BYTES / 255).astype(np.float32), 0, 1),
    "fractions in double precision": (BYTES / 255, 0, 1),
    "numbers to 255": (BYTES.astype(np.float32), 0, 255),
    "numbers to 65535": (BYTES.astype(np.float32) * 257, 0, 65535),
    "numbers to 65535 with 32 bits": (BYTES.astype(np.uint32) * 257, 0, 65535),
    "signed numbers": (TWELVE.astype(np.int16), 0, 4095),
}


@pytest.mark.parametrize("hot_pixel", [False, True])
@pytest.mark.parametrize("camera", CAMERAS)
def test_same_light_gives_same_rgb_whatever_the_camera(camera: str, hot_pixel: bool) -> None:
    values, black, white = CAMERAS[camera]
    values = hot(values) if hot_pixel else values
    levels = Levels.from_image(Samples(values))
    assert levels.black == black
    assert levels.white == pytest.approx(white, rel=5e-3)
    image = as_field(values).window(slice(0, 60), slice(0, 70))
    wanted = BYTES.copy()
    if hot_pixel:
        wanted[5, 5] = 255
    np.testing.assert_allclose(image, wanted, atol=1 if not hot_pixel else 2)


def test_numbers_of_8_bits_come_back_bit_equal_from_16_bits_and_floats() -> None:
    for camera in ("8 bits in 16", "8 bits shifted by 8", "8 bits spread over 16", "numbers to 255"):
        np.testing.assert_array_equal(to_rgb(Samples(CAMERAS[camera][0])), BYTES)
    np.testing.assert_array_equal(to_rgb(Samples(BYTES)), BYTES)


def test_bright_16_bit_smear_has_no_offset() -> None:
    values = np.linspace(33_000, 60_000, 4200).reshape(60, 70, 1).astype(np.uint16)
    assert Levels.from_image(Samples(values)) == Levels(0, 65535)


def test_offset_and_low_contrast_are_noted() -> None:
    assert "32768 too high" in Levels.from_image(Samples(TWELVE + np.uint16(32768))).note
    flat = np.linspace(20_000, 21_000, 4200).reshape(60, 70, 1).astype(np.uint16)
    assert (
        "its darkest value, 20005, is close to its brightest, 20994" in Levels.from_image(Samples(flat)).note
    )
    assert as_field(flat).notes == (Levels.from_image(Samples(flat)).note,)
    assert not Levels.from_image(Samples(TWELVE)).note


def test_background_slightly_above_1_stays_bright() -> None:
    fractions = np.clip(np.random.default_rng(1).normal(1.0, 0.02, (60, 70, 1)), 0, None)
    assert to_rgb(Samples(fractions)).mean() > 230


def test_alpha_has_its_own_full_scale() -> None:
    rgba = np.dstack([TWELVE, np.full((60, 70), 65535, np.uint16)])
    np.testing.assert_allclose(to_rgb(Samples(rgba, "straight")), BYTES, atol=1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((40, 40, 1), -5, np.int16), "values from -5 to -5"),
        (np.full((40, 40, 1), 70_000, np.uint32), "values from 70000 to 70000"),
        (np.full((40, 40, 1), np.inf, np.float32), "not numbers"),
        (np.zeros((40, 40, 2), np.uint8), "2 colour channels"),
    ],
)
def test_numbers_without_meaning_are_refused(values: NDArray[Any], reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        to_rgb(Samples(values))
