"""A field is detected again at the scale that the detector agrees with, and the user is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.transform import rescale

from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.types import Image
from napari_amil.core.cohort.smear import SyntheticSmear, SynthSettings, synthetic_smear
from napari_amil.core.instances.extract import Recipe, at_scale_of, prepare
from napari_amil.core.instances.find_cells import detect_prepared
from napari_amil.core.model.bundle import load_bundle


@pytest.fixture(scope="module")
def starter() -> Recipe:
    return Recipe.from_bundle(load_bundle(), None, torch.device("cpu"))


@pytest.fixture(scope="module")
def smear() -> SyntheticSmear:
    return synthetic_smear(7, SynthSettings(height=200, width=240, n_cells=22, n_platelets=0))


@pytest.fixture(scope="module")
def large_cells(smear: SyntheticSmear) -> Image:
    """The smear with cells of 100 px."""
    return np.asarray(rescale(smear.image, 2.5, channel_axis=2) * 255, dtype=np.uint8)


def given(recipe: Recipe, diameter_px: float) -> Recipe:
    detection = recipe.settings.detection.model_copy(update={"cell_diameter_px": diameter_px})
    return replace(recipe, settings=recipe.settings.model_copy(update={"detection": detection}))


def messages(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def test_a_right_scale_is_kept_in_silence(starter: Recipe, smear: SyntheticSmear) -> None:
    events: list[Event] = []
    prepared = prepare(smear.image, starter)
    seen, candidates = drain(detect_prepared(prepared, starter), events.append)
    assert seen is prepared
    assert messages(events) == []
    assert len(candidates.select(starter.settings.selection)) >= 0.9 * len(smear.cells)


def test_a_wrong_scale_is_mended_with_a_note(
    starter: Recipe, smear: SyntheticSmear, large_cells: Image
) -> None:
    prepared = prepare(large_cells, starter)
    wrong = replace(prepared, view=prepared.view.at_diameter(240.0))
    events: list[Event] = []
    seen, candidates = drain(detect_prepared(wrong, starter), events.append)
    assert 80 < seen.view.diameter_px < 125
    (note,) = messages(events)
    found_px = seen.view.diameter_px
    assert note.startswith(f"The cells are taken for {found_px:.0f} px in diameter, not 240 px as")
    assert note.endswith("Give the diameter if that is wrong.")
    cells = candidates.select(starter.settings.selection)
    assert len(cells) >= 0.9 * len(smear.cells)
    again = drain(at_scale_of(wrong, cells, starter))
    assert again.view.diameter_px == pytest.approx(seen.view.diameter_px)
    told: list[Event] = []
    known = drain(at_scale_of(wrong, cells, starter, found_px), told.append)
    assert (known.view.diameter_px, told) == (found_px, [])


def test_a_given_diameter_stays_with_a_note(starter: Recipe, large_cells: Image) -> None:
    events: list[Event] = []
    recipe = given(starter, 55.0)
    seen, _ = drain(detect_prepared(prepare(large_cells, recipe), recipe), events.append)
    assert seen.view.diameter_px == 55.0
    (note,) = messages(events)
    assert note.startswith("The cell diameter is set to 55 px, but the cells measure ")


@pytest.mark.parametrize("share", [0.98, 0.8, 0.6])
def test_a_black_surround_takes_no_cells(starter: Recipe, share: float) -> None:
    image = synthetic_smear(8, SynthSettings(height=560, width=560, n_cells=140)).image
    radius = 280 * share
    y, x = np.ogrid[:560, :560]
    dark = np.hypot(y - 280, x - 280) > radius
    disc = np.where(dark[..., None], 3, image).astype(np.uint8)
    side = int(radius / np.sqrt(2)) - 2
    cropped = image[280 - side : 280 + side, 280 - side : 280 + side]
    found, expected = (
        drain(detect_prepared(prepare(pixels, starter), starter))[1].select(starter.settings.selection)
        for pixels in (disc, cropped)
    )
    whole = expected.take(~expected.touches_border)
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 - 280
    within = (np.abs(centres) < side).all(axis=1)
    assert within.sum() >= 0.95 * len(whole) > 5
    assert (np.hypot(*centres.T) < radius).all()
    rim = np.hypot(*centres.T) > radius - 12
    assert found.touches_border[rim].all()
