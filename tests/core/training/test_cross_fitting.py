"""The anomaly model of a training is calibrated by networks and channels that did not see a cell."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.channels import LATENT
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.events import EpochReport, Event, Step, Warned, drain
from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.class_calibration import ClassCalibration
from napari_amil.core.mil.model import embed_all
from napari_amil.core.morphology.measures import NAMES
from napari_amil.core.training.cross_fitting import fit_anomaly
from napari_amil.core.training.loop import FittedModel, fit_model
from napari_amil.core.training.steps import score_bags
from napari_amil.core.training.units import independent_units, split_units

CPU = torch.device("cpu")
SETTINGS = RunSettings(
    model=ModelSettings(
        latent_dim=6, measurement_columns=0, bag_heads=1, width=8, attention_dim=4, orientations=1
    ),
    training=TrainingSettings(cell_epochs=2, cells_per_step=20, max_epochs=2, calibration_folds=2),
)
MEASURED = SETTINGS.changed({"training": {"calibration_folds": 0}})
N_CONTROLS, N_ILL = 4, 3
MEASUREMENTS = np.random.default_rng(1).normal(size=((N_CONTROLS + N_ILL) * 16, len(NAMES)))


@cache
def bag_arrays() -> BagArrays:
    """Return two bags of 8 cells of every patient: round cells, and for the ill half of them squares."""
    rng = np.random.default_rng(0)
    axis = np.abs(np.arange(32) - 15.5)
    crops, rows, labels, patients = [], [], [], []
    for patient in range(N_CONTROLS + N_ILL):
        for _ in range(2):
            rows.append(np.arange(len(crops), len(crops) + 8))
            labels.append(int(patient >= N_CONTROLS))
            patients.append(f"p{patient}")
            for cell in range(8):
                square = patient >= N_CONTROLS and cell < 4
                far = (np.maximum if square else np.hypot)(*np.meshgrid(axis, axis))
                crops.append(np.where(far < rng.uniform(9, 11), rng.integers(90, 130, (3, 1, 1)), 255))
    pixels = np.array(crops, dtype=np.uint8)
    return BagArrays(pixels, tuple(rows), np.array(labels), tuple(patients), ("control", "ill"), "control")


@cache
def fitted() -> FittedModel:
    return drain(fit_model(bag_arrays(), SETTINGS, CPU))


def anomaly(settings: RunSettings = SETTINGS, **changes: object) -> tuple[AnomalyModel, list[Event]]:
    events: list[Event] = []
    bags = bag_arrays()
    units = independent_units(bags)
    for name, value in changes.items():
        units = np.asarray(value) if name == "units" else units
    inputs = CellInputs(measurements=MEASUREMENTS) if settings is MEASURED else None
    work = fit_anomaly(bags, units, fitted(), settings, CPU, inputs)
    return drain(work, events.append).anomaly, events


def test_every_control_cell_is_held_out_once_with_its_patient() -> None:
    model, events = anomaly()
    assert len(model.calibration) == N_CONTROLS * 16
    assert model.calibration.n_patients == N_CONTROLS
    assert model.n_networks == 2
    count = model.state()[0]["channels/latent_distance/moments.count"]
    assert count.tolist() == pytest.approx([1 / N_CONTROLS] * N_CONTROLS)  # every patient alike
    assert model.novelty is not None
    assert model.novelty.calibration is not None
    assert len(model.novelty.calibration) == 2 * (N_CONTROLS + N_ILL)
    assert model.novelty.calibration.n_patients == N_CONTROLS + N_ILL
    assert not any(isinstance(event, EpochReport) for event in events)  # these trainings are not the user's
    said = [event.message for event in events if isinstance(event, Step)]
    assert any("Network 2 of 2" in message for message in said)


def test_control_bags_that_only_teach_classes_tell_how_units_differ() -> None:
    bags = replace(bag_arrays(), reference=np.arange(2 * (N_CONTROLS + N_ILL)) >= 4)  # of p2 and p3
    found = drain(fit_anomaly(bags, independent_units(bags), fitted(), SETTINGS, CPU))
    tensors = found.anomaly.state()[0]
    assert tensors["channels/latent_distance/moments.count"].tolist() == pytest.approx([0.25] * 4)
    assert tensors["channels/latent_distance/moments.mean_count"].tolist() == pytest.approx([0, 0, 0.5, 0.5])
    plain = SETTINGS.changed({"model": {"units_alike": False}})
    alone = drain(fit_anomaly(bags, independent_units(bags), fitted(), plain, CPU)).anomaly.state()[0]
    assert alone["channels/latent_distance/moments.count"].tolist() == [16.0] * 2
    assert len(found.anomaly.calibration) == N_CONTROLS * 16
    assert found.anomaly.calibration.n_patients == N_CONTROLS
    assert found.classes is not None
    assert int(found.classes.n_patients) == N_CONTROLS + N_ILL


def test_class_probabilities_are_calibrated_by_networks_that_never_saw_the_bag() -> None:
    bags = bag_arrays()
    units = independent_units(bags)
    found = drain(fit_anomaly(bags, units, fitted(), SETTINGS, CPU)).classes
    assert found is not None
    assert int(found.n_patients) == N_CONTROLS + N_ILL
    part = split_units(bags, units, 2, SETTINGS.training.seed)
    logits, labels, patients = [], [], []
    for number in range(2):
        inside = [i for i, rows in enumerate(bags.rows) if part[rows[0]] == number]
        outside = [i for i in range(len(bags)) if i not in inside]
        alone = drain(fit_model(bags.take(outside), SETTINGS, CPU))
        some = bags.take(inside)
        logits.append(score_bags(alone.model, alone.gaussian, some, CPU)[0].logits.numpy())
        labels.append(some.labels)
        patients += some.patients
    expected = ClassCalibration.fit(np.concatenate(logits), np.concatenate(labels), patients)
    assert float(found.temperature) == pytest.approx(float(expected.temperature), rel=1e-3)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-4)
    unheld = drain(fit_anomaly(bags, units, fitted(), MEASURED, CPU))
    assert unheld.classes is None


def test_the_distances_are_those_of_networks_that_never_saw_the_cell() -> None:
    bags = bag_arrays()
    model, _ = anomaly()
    part = split_units(bags, independent_units(bags), 2, SETTINGS.training.seed)
    expected = []
    for number in range(2):
        kept = [i for i, rows in enumerate(bags.rows) if part[rows[0]] != number]
        alone = drain(fit_model(bags.take(kept), SETTINGS, CPU))
        rows = np.flatnonzero((part == number) & (np.arange(len(part)) < N_CONTROLS * 16))
        expected.append(alone.gaussian.distance(embed_all(alone.model, bags.cells(rows), CPU)))
    torch.testing.assert_close(
        model.calibration.distances, torch.cat(expected).double().sort().values, rtol=1e-4, atol=1e-4
    )
    rows = np.arange(N_CONTROLS * 16)
    seen = fitted().gaussian.distance(embed_all(fitted().model, bags.cells(rows), CPU))
    assert float(model.calibration.in_sample) == pytest.approx(float(seen.mean()), rel=1e-4)


def test_without_networks_of_their_own_only_gaussian_and_classes_are_left_out() -> None:
    plain = SETTINGS.changed({"training": {"calibration_folds": 0}})
    model, events = anomaly(plain)
    assert len(model.calibration) == N_CONTROLS * 16
    assert model.n_networks == 0
    assert not any("Network" in event.message for event in events if isinstance(event, Step))


def test_the_anomaly_is_made_of_two_distances_that_were_both_left_out() -> None:
    bags = bag_arrays()
    alone, _ = anomaly(SETTINGS.changed({"training": {"calibration_folds": 0}}))
    model, _ = anomaly(MEASURED)
    assert alone.joint is None
    assert model.joint is not None
    part = split_units(bags, independent_units(bags), N_CONTROLS, SETTINGS.training.seed)[: N_CONTROLS * 16]
    controls = MEASUREMENTS[: len(part)]
    shapes, roundness = np.empty(len(part)), MEASURED.model.roundness
    for number in np.unique(part):
        inside = part == number
        shapes[inside] = ControlMorphology.fit(controls[~inside], roundness).distance(controls[inside])
    assert float(model.joint.center[1]) == pytest.approx(np.log(shapes).mean())
    assert float(model.joint.center[0]) == pytest.approx(float(alone.calibration.distances.log().mean()))
    latent = fitted().gaussian.distance(embed_all(fitted().model, bags.cells(np.arange(len(part))), CPU))
    inside = ControlMorphology.fit(controls, roundness).distance(controls)
    seen = model.joint.distance([latent.numpy(), inside]).mean()
    assert float(model.calibration.in_sample) == pytest.approx(seen, rel=1e-5)


def test_one_control_patient_is_said_and_gives_no_novelty() -> None:
    bags = bag_arrays()
    alone = np.where(np.arange(len(bags.instances)) < N_CONTROLS * 16, "one", "other")
    model, events = anomaly(units=alone)
    assert model.calibration.n_patients == 0
    assert model.channels[LATENT].score_refits(CellInputs(torch.zeros(1, 6))) is None
    assert model.novelty is None
    assert any("one patient" in event.message for event in events if isinstance(event, Warned))
