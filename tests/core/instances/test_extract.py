"""From pixels to cells, and from cells to what the encoder sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.events import Step, Warned, drain
from napari_amil.core.base.settings import (
    DetectionSettings,
    ModelSettings,
    NormalisationSettings,
    RunSettings,
)
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.synth import SyntheticSmear, synthetic_smear
from napari_amil.core.detection.network import with_white_cells
from napari_amil.core.instances.extract import Recipe, detect_field, field_instances, without_steps
from napari_amil.core.model.bundle import Bundle


@pytest.fixture(scope="module")
def smear() -> SyntheticSmear:
    return synthetic_smear(3)


def test_the_user_may_change_detection_but_not_what_tensors_depend_on(small_bundle: Bundle) -> None:
    wanted = RunSettings(
        detection=DetectionSettings(max_cells=7),
        model=ModelSettings(latent_dim=99),
        normalisation=NormalisationSettings(illumination_order=0),
    )
    recipe = Recipe.from_bundle(small_bundle, wanted, torch.device("cpu"))
    assert recipe.settings.detection.max_cells == 7
    assert recipe.settings.model == small_bundle.settings.model
    assert recipe.settings.normalisation == small_bundle.settings.normalisation


def test_white_cells_are_found_by_a_detector_that_knows_them_alone(
    recipe: Recipe, smear: SyntheticSmear
) -> None:
    wanted = recipe.settings.changed(
        {"detection": {"cells": "white", "cell_diameter_px": 40.0, "max_foreign": 0.0}}
    )
    with pytest.raises(BundleError, match="knows no white cells"):
        drain(detect_field(smear.image, replace(recipe, settings=wanted)))
    wider = with_white_cells(recipe.bundle.need_detector(), "light").eval()
    with torch.no_grad():
        wider.roi_heads.box_predictor.cls_score.bias[:] = torch.tensor([-9.0, 0.0, 9.0])
    knowing = replace(recipe, bundle=replace(recipe.bundle, detector=wider))
    white = drain(detect_field(smear.image, replace(knowing, settings=wanted)))
    assert len(white.cells) > 0
    assert white.cells.detection_score.min() > 0.9
    red = drain(detect_field(smear.image, knowing))
    assert red.cells.detection_score.max(initial=0) < 0.1


def test_detection_says_what_it_does_and_announces_the_cap(recipe: Recipe, smear: SyntheticSmear) -> None:
    events: list[object] = []
    candidates = drain(detect_field(smear.image, recipe), events.append)
    assert len(candidates.cells) <= 60
    assert any(isinstance(event, Step) for event in events)
    assert any(isinstance(event, Warned) and "cap of 60" in event.message for event in events)


def test_of_many_images_only_warnings_are_heard_with_their_name(
    recipe: Recipe, smear: SyntheticSmear
) -> None:
    events: list[object] = []
    drain(without_steps(detect_field(smear.image, recipe), "a.png"), events.append)
    assert events
    assert all(isinstance(event, Warned) and event.message.startswith("a.png: ") for event in events)


def test_crops_and_roi_maps_have_one_row_per_cell(recipe: Recipe, smear: SyntheticSmear) -> None:
    crops = field_instances(smear.image, smear.cells, recipe)
    assert crops.shape == (len(smear.cells), 3, 64, 64)
    assert crops.dtype == np.uint8
    assert crops[:, :, 0, 0].min() == 255  # background around the box
    assert crops[:, 1, 32, 32].mean() < 235  # a cell in the middle
    model = recipe.settings.model.model_copy(update={"encoder": "roi"})
    with_maps = Recipe(recipe.bundle, recipe.settings.model_copy(update={"model": model}), recipe.device)
    maps = field_instances(smear.image, smear.cells, with_maps)
    assert maps.shape == (len(smear.cells), 64, 14, 14)
    assert maps.min() == -1
    assert maps.max() == 1


def test_a_crop_does_not_depend_on_the_other_cells(recipe: Recipe, smear: SyntheticSmear) -> None:
    together = field_instances(smear.image, smear.cells, recipe)
    alone = field_instances(smear.image, smear.cells.take([4]), recipe)
    np.testing.assert_array_equal(together[4:5], alone)


def test_no_cells_give_no_instances(recipe: Recipe, smear: SyntheticSmear) -> None:
    assert field_instances(smear.image, Cells(np.zeros((0, 4))), recipe).shape == (0, 3, 64, 64)
