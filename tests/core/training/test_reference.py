"""Scores are held against control cells that were left out, measured or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.gaussian.refits import drawn_patients
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology, left_out_distances
from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.morphology.measures import NAMES
from napari_amil.core.training.reference import ControlCells

RNG = np.random.default_rng(0)
MEASUREMENTS = RNG.normal(size=(80, len(NAMES)))
DISTANCES = torch.from_numpy(np.exp(RNG.normal(1.0, 0.2, 80)))
PART = np.repeat(np.arange(4), 20)


def test_the_calibration_ranks_joint_distances_that_were_left_out() -> None:
    seen = 0.9 * DISTANCES
    cells = ControlCells(DISTANCES, seen, MEASUREMENTS, PART, PART)
    usual = drain(cells.reference(0.5))
    assert usual.joint is not None
    outside = left_out_distances(MEASUREMENTS, PART)
    expected = np.sort(usual.joint.distance(DISTANCES.numpy(), outside))
    np.testing.assert_allclose(usual.calibration.distances.numpy(), expected)
    inside = ControlMorphology.fit(MEASUREMENTS).distance(MEASUREMENTS)
    assert float(usual.calibration.in_sample) == pytest.approx(
        usual.joint.distance(seen.numpy(), inside).mean()
    )
    assert usual.calibration.n_patients == 4


def test_nothing_is_held_against_a_box_that_holds_no_whole_cell() -> None:
    measurements = MEASUREMENTS.copy()
    measurements[[3, 50]] = np.nan
    names = np.array(["a", "b", "c", "d"])[PART]
    cells = ControlCells(DISTANCES, DISTANCES, measurements, PART, names)
    kept = np.delete(np.arange(80), [3, 50])
    whole = ControlCells(DISTANCES[kept], DISTANCES[kept], MEASUREMENTS[kept], PART[kept], names[kept])
    expected, usual = drain(whole.reference(0.5)), drain(cells.reference(0.5))
    assert torch.equal(usual.calibration.distances, expected.calibration.distances)
    assert usual.joint is not None
    assert expected.joint is not None
    assert torch.equal(usual.joint.center, expected.joint.center)
    (said,) = cells.said_of_boxes()
    assert said.message.startswith("2 of 80 control boxes hold no whole cell")
    assert "the first of 'a'" in said.message
    assert not list(ControlCells(DISTANCES, DISTANCES, MEASUREMENTS, PART, names).said_of_boxes())
    assert not list(ControlCells(DISTANCES, DISTANCES, None, PART, names).said_of_boxes())


def test_measurements_are_drawn_with_the_patients_of_the_embeddings() -> None:
    measurements = MEASUREMENTS.copy()
    measurements[:20] = np.nan  # nothing to hold against, but a draw may choose this patient
    usual = drain(ControlCells(DISTANCES, DISTANCES, measurements, PART, PART).reference(0.5))
    assert usual.refits is not None
    drawn = drawn_patients(4)[0].numpy()
    rows = np.concatenate([np.flatnonzero(number == PART) for number in drawn if number > 0])
    expected = ControlMorphology.fit(MEASUREMENTS[rows]).distance(MEASUREMENTS)
    np.testing.assert_allclose(usual.refits.fits[0].distance(MEASUREMENTS), expected, rtol=1e-4)


def test_without_weight_or_measurements_the_network_counts_alone() -> None:
    weightless = drain(ControlCells(DISTANCES, DISTANCES, MEASUREMENTS, PART, PART).reference(0.0))
    bare = drain(ControlCells(DISTANCES, DISTANCES, None, PART, PART).reference(0.5))
    for usual in (weightless, bare):
        assert usual.joint is None
        assert usual.refits is None
        assert torch.equal(usual.calibration.distances, DISTANCES.sort().values)
    assert weightless.morphology is not None
    assert bare.morphology is None


def test_a_cell_that_was_never_left_out_calibrates_nothing() -> None:
    left_out = DISTANCES.clone()
    left_out[:20] = torch.nan
    usual = drain(ControlCells(left_out, DISTANCES, MEASUREMENTS, PART, PART).reference(0.5))
    assert len(usual.calibration) == 60
    assert usual.calibration.n_patients == 3


def test_control_cells_of_one_patient_are_said_even_if_other_boxes_are_empty() -> None:
    measured = MEASUREMENTS.copy()
    measured[PART > 0] = np.nan
    events: list[Event] = []
    usual = drain(ControlCells(DISTANCES, DISTANCES, measured, PART, PART).reference(0.0), events.append)
    assert usual.calibration.effects is None
    assert any("All control cells are of one patient" in e.message for e in events if isinstance(e, Warned))


def test_too_few_measured_controls_are_a_warning_and_the_network_counts_alone() -> None:
    control, seen = [torch.tensor([1.0, 2.0, 3.0])] * 2
    events: list[Event] = []
    few = ControlCells(control, seen, np.ones((3, len(NAMES))))
    usual = drain(few.reference(0.5), events.append)
    assert usual.joint is None
    assert usual.calibration.distances.tolist() == [1.0, 2.0, 3.0]
    assert any("stay empty" in event.message for event in events if isinstance(event, Warned))
