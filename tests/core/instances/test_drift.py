"""The look of a sample beside the fields that its model knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.types import ABSTAIN
from napari_amil.core.cohort.smear import synthetic_smear
from napari_amil.core.instances.drift import Look, field_note, foreign_look, look_of, summary_of_fields
from napari_amil.core.instances.extract import Recipe, prepare
from napari_amil.core.instances.sources import open_source
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.pipeline.score import score_source

TRAINED = {"scorer": {"fields": {"density": [0.40, 0.10], "diameter_px": [40.0, 5.0]}}}


def test_the_summary_is_median_and_deviation_over_fields() -> None:
    found = summary_of_fields([(0.3, 38.0), (0.5, 40.0), (0.4, 42.0)])
    assert found["density"] == pytest.approx([0.4, 0.0816], abs=1e-4)
    assert found["diameter_px"] == pytest.approx([40.0, 1.633], abs=1e-3)


def test_a_sample_like_the_training_has_no_caveat() -> None:
    assert foreign_look([(0.45, 54.0), (0.35, 52.0)], TRAINED, 3.0) == ""


def test_larger_cells_are_foreign_and_the_sentence_says_by_how_much() -> None:
    sentence = foreign_look([(0.40, 80.0)], TRAINED, 3.0)
    assert "the cells are 2 times as large (+8.0 deviations)" in sentence
    assert "stain" not in sentence
    assert "Calibrate it" in sentence


def test_smaller_cells_and_another_stain_are_both_named() -> None:
    sentence = foreign_look([(0.85, 20.0)], TRAINED, 3.0)
    assert "the cells are 0.5 times as large (-4.0 deviations)" in sentence
    assert "the stain is 2.1 times as dense (+4.5 deviations)" in sentence


def test_no_limit_and_an_unknown_training_say_nothing() -> None:
    assert foreign_look([(0.40, 80.0)], TRAINED, 0.0) == ""
    assert foreign_look([(0.40, 80.0)], {}, 3.0) == ""


def test_a_calibration_replaces_the_fields_of_the_training() -> None:
    card = TRAINED | {"calibration": {"fields": {"density": [0.40, 0.1], "diameter_px": [80.0, 5.0]}}}
    assert foreign_look([(0.40, 80.0)], card, 3.0) == ""
    assert "0.5 times as large" in foreign_look([(0.40, 40.0)], card, 3.0)


def test_few_known_fields_do_not_make_every_other_one_foreign() -> None:
    alike = {"scorer": {"fields": {"density": [0.40, 0.0], "diameter_px": [40.0, 0.0]}}}
    assert foreign_look([(0.45, 46.0)], alike, 3.0) == ""
    assert foreign_look([(0.40, 54.0)], alike, 3.0) != ""


def test_a_black_surround_is_no_stain() -> None:
    bundle = load_bundle()
    recipe = Recipe.from_bundle(bundle, None, torch.device("cpu"))
    smear = synthetic_smear(3)
    height, width = smear.image.shape[:2]
    y, x = np.mgrid[:height, :width] - np.array([height, width])[:, None, None] / 2
    disc = np.where(np.hypot(y, x)[..., None] < 0.45 * height, smear.image, 0).astype(np.uint8)
    density, diameter_px = field_note(prepare(smear.image, recipe), smear.cells)
    assert field_note(prepare(disc, recipe), smear.cells) == (pytest.approx(density, abs=0.05), diameter_px)


def test_another_microscope_gets_no_class_and_the_known_one_no_caveat(chula: Path) -> None:
    data, bundle = chula.parent, load_bundle()
    names = ["pbc/000.jpg", "pbc/003.jpg"]
    foreign = [data / "other_microscopes" / name for name in names]
    known = [chula / "images" / name for name in ("1.jpg", "141.jpg")]
    recipe = Recipe.from_bundle(bundle, None, torch.device("cpu"))
    events: list[Event] = []
    bags = drain(score_source(open_source([*foreign, *known], "control"), recipe), events.append).bags
    assert (bags["verdict"] == ABSTAIN).tolist()[:2] == [True, True]
    assert (bags["caveat"] != "").tolist() == [True, True, False, False]
    said = [event.message for event in events if isinstance(event, Warned)]
    assert sum("2 of 4 samples are like that" in message for message in said) == 1


def test_the_look_names_stain_size_and_focus_beside_the_known_images() -> None:
    card = {"scorer": {"fields": TRAINED["scorer"]["fields"] | {"focus": [0.020, 0.004]}}}
    alike = look_of([(0.44, 42.0)], 0.018, card, 3.0)
    assert alike.is_alike
    assert alike.sentence == (
        "Looks like the images that the model knows "
        "(stain 1.1, size of the cells 1.1, sharpness 0.9 times theirs)."
    )
    large = look_of([(0.40, 80.0)], 0.018, card, 3.0)
    assert large.is_alike is False
    assert "Unlike the images that the model knows: the cells are 2 times as large." in large.sentence
    assert "Calibrate" in large.sentence
    blurred = look_of([(0.40, 40.0)], 0.005, card, 3.0)
    assert "edges are 0.25 times as sharp. Focus anew" in blurred.sentence
    assert look_of([(0.40, 40.0)], 0.1, card, 3.0).is_alike  # sharper is no harm
    assert look_of([(0.40, 40.0)], float("nan"), {}, 3.0) == Look()
