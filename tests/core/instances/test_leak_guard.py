"""What would make a result wrong refuses a training in a sentence that names the way around."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_amil.core.base.errors import CohortError, SettingsError
from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.settings import ModelSettings, RunSettings
from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.leak_guard import guarding, sources_without_copies
from napari_amil.core.instances.sources import Source, cohort_source
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.pipeline.training_run import Protocol, train_run

SETTINGS = RunSettings(model=ModelSettings(latent_dim=4, measurement_columns=0))
CELLS = Cells(np.tile([0.0, 0.0, 9.0, 9.0], (40, 1)))


@pytest.fixture
def sound(tmp_path: Path) -> Cohort:
    """Nine patients of three classes in three folds, each with a file of its own."""
    bags = []
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(bytes([i]) * 10)
        label = ("control", "a", "b")[i % 3]
        bags.append(Bag(f"b{i}", f"p{i}", (f"{i}.png",), {f"{i}.png": CELLS}, label, i // 3))
    return Cohort(str(tmp_path), tuple(bags), ("control", "a", "b"))


def changed(cohort: Cohort, **changes: dict[int, object]) -> Cohort:
    """Return the cohort with ``field={number of the bag: value}``."""
    bags = list(cohort.bags)
    for name, values in changes.items():
        for number, value in values.items():
            bags[number] = replace(bags[number], **{name: value})
    return replace(cohort, bags=tuple(bags))


THREE_FOLDS = Protocol(n_folds=3)


def said(cohort: Cohort, protocol: Protocol = THREE_FOLDS) -> list[str]:
    events: list[Event] = []
    drain(guarding(cohort, SETTINGS, protocol.part_of, protocol.allowed), events.append)
    assert all(isinstance(event, Warned) for event in events)
    return [event.message for event in events if isinstance(event, Warned)]


def test_a_sound_cohort_passes_in_silence(sound: Cohort) -> None:
    assert said(sound) == said(sound, Protocol()) == said(sound, Protocol(1)) == []


ERRORS = {
    "leaking-patients": ({"patient": {3: "p0"}}, "Patient 'p0' is in fold 0 and in fold 1; put all bags"),
    "mixed-labels": ({"patient": {1: "p0"}}, "Patient 'p0' has the labels 'a' and 'control'; give each"),
    "empty-bags": ({"cells": {4: {}}}, "Bag 'b4' is empty; add its images or remove it"),
    "few-patients": ({"label": {0: "a", 3: "a"}}, "The control class 'control' has 1 patient(s), so that"),
    "confounding": (
        {"acquisition": {i: {"site": "xyz"[i % 3]} for i in range(9)}},
        "The column 'site' alone tells the class of every patient",
    ),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_refuses_unless_it_is_allowed(sound: Cohort, kind: str) -> None:
    changes, told = ERRORS[kind]
    wrong = changed(sound, **changes)
    with pytest.raises(CohortError) as refused:
        said(wrong)
    assert str(refused.value).startswith(told)
    assert str(refused.value).endswith(f", or go on all the same with --allow {kind}.")
    assert any(message.startswith(told) for message in said(wrong, Protocol(n_folds=3, allowed=(kind,))))


def test_weak_points_are_said_and_refuse_nothing(sound: Cohort) -> None:
    weak = changed(
        sound, label={1: None}, cells={5: {"5.png": CELLS.take([0])}, 0: {"0.png": CELLS.take([0])}}
    )
    assert [message.split(",")[0] for message in said(weak)] == [
        "Class 'a' has 2 patient(s)",
        "2 bag(s)",
    ]


def test_only_leaks_between_training_and_test_matter(sound: Cohort) -> None:
    leaking = changed(sound, patient={3: "p0"})
    for harmless in (Protocol(), Protocol(hold_out_fold=2)):
        assert [message.split(",")[0] for message in said(leaking, harmless)] == [
            "Class 'control' has 2 patient(s)"
        ]
    with pytest.raises(CohortError, match="'p0' is in the held-out fold and in the training part"):
        said(leaking, Protocol(hold_out_fold=1))


def test_several_errors_are_counted_and_unknown_names_refused(sound: Cohort) -> None:
    with pytest.raises(CohortError, match=r"or remove it \(1 more: 'napari-amil check' lists them\), or go"):
        said(changed(sound, cells={4: {}, 5: {}}))
    with pytest.raises(SettingsError, match="no problem called 'leaks' to allow; known are boxes-outside, "):
        said(sound, Protocol(allowed=("leaks",)))


def test_images_of_the_test_part_are_not_trained_on(sound: Cohort) -> None:
    (Path(sound.root) / "4.png").write_bytes((Path(sound.root) / "0.png").read_bytes())
    shared = changed(sound, images={7: ("1.png", "7.png")}, cells={7: {"1.png": CELLS, "7.png": CELLS}})
    events: list[Event] = []
    train, test = drain(sources_without_copies(cohort_source(shared), 0), events.append)
    assert {bag.bag: bag.images for bag in train.cohort if bag.fold == 1} == {
        "b3": ("3.png",),
        "b5": ("5.png",),
    }
    assert next(bag.images for bag in train.cohort if bag.bag == "b7") == ("7.png",)
    assert [bag.bag for bag in test.cohort] == ["b0", "b1", "b2"]
    assert [event.message for event in events if isinstance(event, Warned)] == [
        "2 image(s) of the training part are also in the test part, fold 0, under this or another name, and "
        "are left out of the training: '4.png' and '1.png', and with them the bag(s) 'b4'."
    ]
    assert drain(sources_without_copies(cohort_source(sound), 2))[0].cohort.bags == sound.bags[:6]


def test_a_refused_training_writes_nothing_but_why(sound: Cohort, tmp_path: Path) -> None:
    wrong = cohort_source(changed(sound, patient={3: "p0"}))
    recipe = Recipe(Bundle(SETTINGS), SETTINGS, torch.device("cpu"))
    out = tmp_path / "run"
    out.mkdir()
    with pytest.raises(CohortError, match="--allow leaking-patients"):
        drain(train_run(Source(wrong.cohort, wrong.files), recipe, out, Protocol(hold_out_fold=0)))
    (said,) = (json.loads(line) for line in (out / "events.jsonl").read_text().splitlines())
    assert (said["event"], said["outcome"]) == ("Ended", "failed")
    assert "--allow leaking-patients" in said["reason"]
    assert [path.name for path in out.iterdir()] == ["events.jsonl"]
