"""Images of white cells are brought to one stain by their nucleus, and nucleus and cell are found in them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.base.settings import NormalisationSettings
from napari_amil.core.cohort.cell_image_synth import draw_white_cell
from napari_amil.core.images.nucleus import (
    NUCLEUS_OPTICAL_DENSITY,
    normalise_by_nucleus,
    optical_density,
    white_cell_masks,
)

SETTINGS = NormalisationSettings()


@pytest.mark.parametrize("strength", [0.6, 1.0, np.array([1.3, 0.8, 1.1])])
def test_any_stain_gives_the_nucleus_one_density(strength: float) -> None:
    image = draw_white_cell(np.random.default_rng(3), 96, abnormal=False, strength=strength)
    normalised = normalise_by_nucleus(image, SETTINGS)
    inside = white_cell_masks(normalised).nucleus
    median = np.median(optical_density(normalised)[inside], axis=0)
    assert median == pytest.approx(NUCLEUS_OPTICAL_DENSITY, rel=0.05)
    corner = normalised[:6, :6].reshape(-1, 3)
    assert np.median(corner, axis=0) == pytest.approx(1.0, abs=0.06)


def test_the_nucleus_is_as_large_as_it_was_drawn() -> None:
    for seed in range(5):
        image = draw_white_cell(np.random.default_rng(seed), 96, abnormal=False)
        masks = white_cell_masks(normalise_by_nucleus(image, SETTINGS))
        drawn = 0.40 * 96 / 2  # radius in pixels, with a deviation of 0.035
        assert np.sqrt(masks.nucleus.sum() / np.pi) == pytest.approx(drawn, rel=0.2)
        assert masks.cell.sum() > masks.nucleus.sum()
        assert not (masks.nucleus & ~masks.cell).any()


def test_an_image_without_a_cell_stays_as_it_is() -> None:
    empty = np.full((40, 50, 3), 230, np.uint8)
    assert normalise_by_nucleus(empty, SETTINGS) == pytest.approx(1.0)
    assert not white_cell_masks(np.ones((40, 50, 3), np.float32)).nucleus.any()
