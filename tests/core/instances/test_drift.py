"""The look of a sample beside the fields that its model knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.types import ABSTAIN
from napari_amil.core.instances.drift import Look, foreign_look, look_of, no_smear, spread_between, withheld
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.field_note import FieldNote
from napari_amil.core.instances.sources import open_source
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.scoring.score import score_source

TRAINED: dict[str, Any] = {"scorer": {"fields": {"density": [0.40, 0.10], "diameter_px": [40.0, 5.0]}}}


def test_a_sample_like_the_training_has_no_caveat() -> None:
    assert foreign_look([FieldNote(0.45, 54.0), FieldNote(0.35, 52.0)], TRAINED, 3.0) == ""


def test_larger_cells_are_foreign_and_the_sentence_says_by_how_much() -> None:
    sentence = foreign_look([FieldNote(0.40, 80.0)], TRAINED, 3.0)
    assert "the cells are 2 times as large (+8.0 deviations)" in sentence
    assert "stain" not in sentence
    assert "Calibrate it" in sentence


def test_smaller_cells_and_another_stain_are_both_named() -> None:
    sentence = foreign_look([FieldNote(0.85, 20.0)], TRAINED, 3.0)
    assert "the cells are 0.5 times as large (-4.0 deviations)" in sentence
    assert "the stain is 2.1 times as dense (+4.5 deviations)" in sentence


def test_no_limit_and_an_unknown_training_say_nothing() -> None:
    assert foreign_look([FieldNote(0.40, 80.0)], TRAINED, 0.0) == ""
    assert foreign_look([FieldNote(0.40, 80.0)], {}, 3.0) == ""


def test_a_calibration_replaces_the_fields_of_the_training() -> None:
    card = TRAINED | {"calibration": {"fields": {"density": [0.40, 0.1], "diameter_px": [80.0, 5.0]}}}
    assert foreign_look([FieldNote(0.40, 80.0)], card, 3.0) == ""
    assert "0.5 times as large" in foreign_look([FieldNote(0.40, 40.0)], card, 3.0)


def test_few_known_fields_do_not_make_every_other_one_foreign() -> None:
    alike = {"scorer": {"fields": {"density": [0.40, 0.0], "diameter_px": [40.0, 0.0]}}}
    assert foreign_look([FieldNote(0.45, 46.0)], alike, 3.0) == ""
    assert foreign_look([FieldNote(0.40, 54.0)], alike, 3.0) != ""


def test_blurred_cells_are_foreign_and_sharper_ones_are_not() -> None:
    card = {"scorer": {"fields": TRAINED["scorer"]["fields"] | {"focus": [0.02, 0.004]}}}
    sentence = foreign_look([FieldNote(0.40, 40.0, 0.006)], card, 3.0)
    assert "the cells are blurred, their edges 0.3 times as sharp (-4.8 deviations)" in sentence
    assert sentence.endswith("Focus anew.")
    assert foreign_look([FieldNote(0.40, 40.0, 0.06)], card, 3.0) == ""
    assert foreign_look([FieldNote(0.40, 40.0, 0.012)], card, 3.0) == ""
    assert foreign_look([FieldNote(0.40, 40.0, 0.006)], card, 0.0) == ""
    assert foreign_look([FieldNote(0.40, 40.0, 0.006)], TRAINED, 3.0) == ""
    both = foreign_look([FieldNote(0.40, 80.0, 0.006)], card, 3.0)
    assert "2 times as large (+8.0 deviations) and the cells are blurred" in both
    assert "Calibrate it" in both


@pytest.mark.parametrize(("score", "smear"), [(0.95, True), (0.7, False)])
def test_what_the_detector_is_unsure_of_is_no_smear(score: float, smear: bool) -> None:
    notes = [FieldNote(0.40, 40.0, score=score + way) for way in (-0.04, 0.0, 0.04)]
    sentence = no_smear([*notes, FieldNote(0.40, 40.0)])
    assert (sentence == "") == smear
    assert smear or f"a mean detection score of {score:.2f}, so" in sentence


def test_given_cells_say_nothing_of_what_else_there_is() -> None:
    assert no_smear([FieldNote(0.40, 40.0)]) == ""


def test_the_spread_between_samples_is_that_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    units = np.repeat([f"p{n}" for n in range(40)], 50)
    within = rng.normal(0, 1, (2000, 3))
    alike = spread_between(torch.from_numpy(within), units)
    assert alike < 0.02
    apart = within + np.repeat(rng.normal(0, 2, (40, 3)), 50, axis=0)
    assert spread_between(torch.from_numpy(apart), units) == pytest.approx(4.0, rel=0.3)
    assert np.isnan(spread_between(torch.zeros(3, 2), ["a", "b", "b"]))


def test_a_mixture_of_controls_withholds_the_verdict() -> None:
    def card(between: float) -> dict[str, dict[str, dict[str, float]]]:
        found = {"between": between, "between_known": 0.1, "called_control": 1.0, "held_out_samples": 20}
        return {"calibration": {"drift": found}}

    assert withheld(card(0.3)) == ""
    assert "differ among themselves 5.0 times as much" in withheld(card(0.5))
    low = {"calibration": {"drift": {"between": 0.15, "between_known": 0.0}}}
    assert withheld(low) == ""


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
    alike = look_of([FieldNote(0.44, 42.0)], 0.018, card, 3.0)
    assert alike.is_alike
    assert alike.sentence == (
        "Looks like the images that the model knows "
        "(stain 1.1, size of the cells 1.1, sharpness 0.9 times theirs)."
    )
    large = look_of([FieldNote(0.40, 80.0)], 0.018, card, 3.0)
    assert large.is_alike is False
    assert "Unlike the images that the model knows: the cells are 2 times as large." in large.sentence
    assert "Calibrate" in large.sentence
    blurred = look_of([FieldNote(0.40, 40.0)], 0.005, card, 3.0)
    assert "edges are 0.25 times as sharp. Focus anew" in blurred.sentence
    assert look_of([FieldNote(0.40, 40.0)], 0.1, card, 3.0).is_alike  # sharper is no harm
    assert look_of([FieldNote(0.40, 40.0)], float("nan"), {}, 3.0) == Look()
