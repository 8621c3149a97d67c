"""Surrounds, frames and bars are outside the field of view; a full field has none."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.base.types import Image
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.images.field_of_view import FieldOfView, field_of_view, visible_mask
from napari_amil.core.images.fields import ArrayField
from napari_amil.core.images.normalise import normalise


@pytest.fixture(scope="module")
def image() -> Image:
    return synthetic_smear(3, SynthSettings(height=240, width=320, n_cells=30)).image


def seen(image: Image) -> FieldOfView | None:
    return field_of_view(ArrayField(image))


def on_black(image: Image, radius: float) -> tuple[Image, np.ndarray]:
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    inside = np.hypot(y - image.shape[0] / 2, x - image.shape[1] / 2) < radius
    return np.where(inside[..., None], image, 5).astype(np.uint8), inside


def test_a_full_field_has_no_mask(image: Image) -> None:
    assert seen(image) is None
    assert seen(np.full((64, 64, 3), 230, np.uint8)) is None
    assert seen(np.zeros((64, 64, 3), np.uint8)) is None


def test_the_mask_has_every_pixel_of_the_image(image: Image) -> None:
    assert visible_mask(ArrayField(image)).all()
    round_one, inside = on_black(image, 90)
    mask = visible_mask(ArrayField(round_one))
    assert mask.shape == image.shape[:2]
    assert not (mask & ~inside).any()


@pytest.mark.parametrize("radius", [118, 90, 60])
def test_a_black_surround_is_masked_up_to_the_rim(image: Image, radius: float) -> None:
    round_one, inside = on_black(image, radius)
    view = seen(round_one)
    assert view is not None
    mask = view.inside(slice(0, 240), slice(0, 320))
    assert not (mask & ~inside).any()
    assert mask.sum() == pytest.approx(inside.sum(), rel=0.12)
    normalised = normalise(round_one)
    assert (normalised[~mask] == 1).all()
    np.testing.assert_allclose(normalised[mask].mean(), normalise(image)[mask].mean(), atol=0.03)


@pytest.mark.parametrize("colour", [255, 0, 128])
def test_frames_and_bars_of_text_are_masked(image: Image, colour: int) -> None:
    framed = np.pad(image, ((0, 40), (12, 0), (0, 0)), constant_values=colour)
    framed[250:270:2, 40:90] = 255 - colour
    view = seen(framed)
    assert view is not None
    mask = view.inside(slice(0, 280), slice(0, 332))
    assert not mask[240:].any()
    assert not mask[:, :12].any()
    assert mask[10:230, 24:].all()


def test_a_large_field_is_masked_by_steps(image: Image) -> None:
    large = np.pad(image.repeat(6, 0).repeat(6, 1), ((0, 0), (300, 0), (0, 0)))
    view = seen(large)
    assert view is not None
    assert view.step == 4
    assert view.inside(slice(0, 100), slice(0, 300)).sum() == 0
    assert view.inside(slice(0, 1440), slice(340, 2220)).all()


def test_outlines_near_the_rim_are_cut() -> None:
    mask = np.ones((100, 100), bool)
    mask[:, :30] = False
    view = FieldOfView(mask, 1)
    square = np.array([[40, 0], [40, 20], [60, 20], [60, 0]], np.float32)
    outlines = tuple(square + np.array([0, x], np.float32) for x in (20, 31, 40, 79))
    assert view.cuts(outlines, 2.0).tolist() == [True, True, False, False]
