"""Looks of other microscopes change pixels, and cells only where a round field cuts them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_amil.core.detection import looks

SIDE = 128


@pytest.fixture
def crop() -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """Dark squares of 20 px, every 40 px, redder than blue."""
    pixels, masks = np.ones((SIDE, SIDE, 3), np.float32), []
    for y, x in np.ndindex(3, 3):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[40 * y + 10 : 40 * y + 30, 40 * x + 10 : 40 * x + 30] = True
        pixels[mask] = (0.8, 0.5, 0.7)
        masks.append(mask)
    return pixels, masks


def only(look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_SHARES", {name: float(name == look) for name in looks._SHARES})


@pytest.mark.parametrize("look", ["vignette", "stain", "grey", "defocus", "shift", "jpeg"])
def test_a_look_changes_pixels_and_no_cell(
    crop: tuple[NDArray[np.float32], list[NDArray[np.bool_]]], look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(look, monkeypatch)
    pixels, masks = crop
    changed, same = looks.other_microscope(pixels, masks, np.random.default_rng(0))
    assert same is masks
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert np.abs(changed - pixels).max() > 0.02
    cells = np.any(masks, axis=0)
    assert changed[cells].mean() < changed[~cells].mean() - 0.1


def test_no_look_leaves_a_crop_as_it_is(
    crop: tuple[NDArray[np.float32], list[NDArray[np.bool_]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("none", monkeypatch)
    pixels, masks = crop
    changed, same = looks.other_microscope(pixels, masks, np.random.default_rng(0))
    np.testing.assert_allclose(changed, pixels, atol=1e-6)
    assert same is masks


def test_a_grey_camera_leaves_the_colour_that_normalisation_gives(
    crop: tuple[NDArray[np.float32], list[NDArray[np.bool_]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    only("grey", monkeypatch)
    changed, masks = looks.other_microscope(*crop, np.random.default_rng(0))
    density = -np.log(changed[masks[0]])
    ratios = (density / looks.NORMAL_COLOUR.density)[0]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)


def test_the_rim_of_a_round_field_cuts_cells_and_drops_slivers(
    crop: tuple[NDArray[np.float32], list[NDArray[np.bool_]]],
) -> None:
    pixels, masks = crop
    whole = cut = gone = 0
    for seed in range(40):
        seen, left = looks._behind_disc(pixels, masks, np.random.default_rng(seed))
        assert len(left) == len(masks)
        areas = [int(mask.sum()) for mask in left]
        assert not any(0 < area < 0.3 * 400 for area in areas)
        whole += areas.count(400)
        gone += areas.count(0)
        cut += sum(0 < area < 400 for area in areas)
        for before, after in zip(masks, left, strict=True):
            assert not (after & ~before).any()
            hidden = before & ~after
            assert after.sum() == 0 or (seen[hidden] == 1).all()
    assert min(whole, cut, gone) > 5
