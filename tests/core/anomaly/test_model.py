"""The anomaly model joins its channels, ranks what was held out, and gives back what it was fitted to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.cross_fit import cross_fit_channels, empty_boxes, held_out_scores
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.patients import N_REFITS, drawn_patients
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import AmilError, BundleError
from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.settings import ModelSettings, RunSettings
from napari_amil.core.morphology.measures import NAMES

CPU = torch.device("cpu")
SETTINGS = RunSettings(model=ModelSettings(latent_dim=4, measurement_columns=0))
ROUND = SETTINGS.model.roundness
RNG = np.random.default_rng(0)
PART = np.repeat(np.arange(4), 20)
MEASUREMENTS = RNG.normal(size=(80, len(NAMES)))
EMBEDDING = torch.from_numpy(RNG.normal(size=(80, 1, 4)))
CONTROLS = CellInputs(EMBEDDING, MEASUREMENTS, patients=np.array(["a", "b", "c", "d"])[PART])


def calibrated(
    controls: CellInputs = CONTROLS, settings: RunSettings = SETTINGS
) -> tuple[AnomalyModel, list[str]]:
    events: list[Event] = []
    model = drain(AnomalyModel.fit(controls, settings, CPU), events.append)
    held_out = drain(cross_fit_channels(controls, PART[: len(controls)], settings, CPU), events.append)
    drain(model.calibrate(controls, held_out), events.append)
    return model, [event.message for event in events if isinstance(event, Warned)]


def with_measurements(measurements: np.ndarray | None) -> CellInputs:
    return CellInputs(EMBEDDING, measurements, patients=CONTROLS.patients)


def test_the_calibration_ranks_joint_distances_of_held_out_cells() -> None:
    model, _ = calibrated()
    assert model.joint is not None
    latent, shape = np.empty(80), np.empty(80)
    for number in range(4):
        inside = number == PART
        others = drain(AnomalyModel.fit(CONTROLS.take(~inside), SETTINGS, CPU))
        latent[inside] = others.pooling_distance(EMBEDDING[inside]).numpy()
        shape[inside] = ControlMorphology.fit(MEASUREMENTS[~inside], ROUND).distance(MEASUREMENTS[inside])
    expected = model.joint.distance([latent, shape])
    np.testing.assert_array_equal(model.calibration.distances.numpy(), np.sort(expected))
    np.testing.assert_allclose(model.joint.center, [np.log(latent).mean(), np.log(shape).mean()])
    seen = model.anomaly(model.channel_scores(CONTROLS))
    assert float(model.calibration.in_sample) == pytest.approx(seen.mean())
    assert model.calibration.n_patients == 4
    assert [*model.calibrations] == ["anomaly"]


def test_a_box_that_holds_no_whole_cell_calibrates_nothing() -> None:
    measurements = MEASUREMENTS.copy()
    measurements[[3, 50]] = np.nan
    controls = with_measurements(measurements)
    model, _ = calibrated(controls)
    assert len(model.calibration) == 78
    (warned,) = empty_boxes(controls)
    assert warned.message.startswith("2 of 80 control boxes hold no whole cell")
    assert "the first of 'a'" in warned.message
    assert not list(empty_boxes(CONTROLS))
    assert not list(empty_boxes(with_measurements(None)))


def test_measurements_are_refitted_to_the_patients_that_the_embeddings_are() -> None:
    measurements = MEASUREMENTS.copy()
    measurements[:20] = np.nan  # a draw may choose this patient, of whom nothing is measured
    model, _ = calibrated(with_measurements(measurements))
    refits = model.channels["morph_distance"].score_refits(CONTROLS)
    assert refits is not None
    assert refits.shape == (N_REFITS, 80)
    drawn = drawn_patients(4)[0].numpy()
    rows = np.concatenate([np.flatnonzero(number == PART) for number in drawn if number > 0])
    expected = ControlMorphology.fit(MEASUREMENTS[rows], ROUND).distance(MEASUREMENTS)
    np.testing.assert_allclose(refits[0], expected, rtol=1e-4)


def test_the_standard_error_is_that_of_refits_to_drawn_patients() -> None:
    model, _ = calibrated()
    joint = model.joint
    assert joint is not None

    def refitted(draw: np.ndarray) -> np.ndarray:
        rows = np.concatenate([np.flatnonzero(patient == PART) for patient in draw])
        there = drain(AnomalyModel.fit(CONTROLS.take(rows).without_patients(), SETTINGS, CPU))
        return joint.distance([*there.channel_scores(far).values()])

    far = CellInputs(EMBEDDING[::10] + 2, MEASUREMENTS[::10] + 2)
    expected = np.std([refitted(draw) for draw in drawn_patients(4).numpy()], axis=0, ddof=1)
    np.testing.assert_allclose(model.standard_error(far), expected, rtol=0.15)
    fixed = drain(AnomalyModel.fit(CONTROLS.without_patients(), SETTINGS, CPU))
    assert np.isnan(fixed.standard_error(far)).all()


def test_without_weight_or_measurements_the_anomaly_is_the_latent_distance() -> None:
    weightless, _ = calibrated(settings=SETTINGS.changed({"model": {"morphology_weight": 0.0}}))
    bare, _ = calibrated(with_measurements(None))
    for model in (weightless, bare):
        assert model.joint is None
        scores = model.channel_scores(CONTROLS)
        np.testing.assert_array_equal(model.anomaly(scores), scores["latent_distance"])
    assert weightless.morphology is not None
    assert weightless.channels["morph_distance"].score_refits(CONTROLS) is None
    assert bare.morphology is None


def test_a_cell_that_was_never_held_out_calibrates_nothing() -> None:
    model = drain(AnomalyModel.fit(CONTROLS, SETTINGS, CPU))
    parts = [(np.flatnonzero(part == PART), {"latent_distance": np.full(20, 2.0)}) for part in (1, 2, 3)]
    held_out = held_out_scores(parts, 80)
    assert np.isnan(held_out["latent_distance"][:20]).all()
    events: list[Event] = []
    drain(model.calibrate(CONTROLS, held_out), events.append)
    assert len(model.calibration) == 60
    assert model.calibration.n_patients == 3
    assert model.joint is None
    (warned,) = [event.message for event in events if isinstance(event, Warned)]
    assert warned.startswith("Too few control cells are left for 'morph_distance'")


def test_control_cells_of_one_patient_are_warned_of_even_if_other_boxes_are_empty() -> None:
    measurements = MEASUREMENTS.copy()
    measurements[PART > 0] = np.nan
    _, warned = calibrated(with_measurements(measurements))
    assert any("All control cells are of one patient" in message for message in warned)


def test_too_few_measured_controls_are_a_warning_and_the_network_counts_alone() -> None:
    few = CellInputs(EMBEDDING[:10], MEASUREMENTS[:10])
    events: list[Event] = []
    model = drain(AnomalyModel.fit(few, SETTINGS, CPU), events.append)
    drain(model.calibrate(few), events.append)
    assert model.joint is None
    assert len(model.calibration) == 10
    assert any(
        "20 whole control cells or more, not 10" in event.message and "stay empty" in event.message
        for event in events
        if isinstance(event, Warned)
    )
    with pytest.raises(AmilError, match="at least 2 control cells"):
        drain(AnomalyModel.fit(CellInputs(EMBEDDING[:1]), SETTINGS, CPU))


def test_the_state_is_finite_tensors_and_json_and_gives_the_same_model() -> None:
    model, _ = calibrated()
    bags = EMBEDDING, model.pooling_distance(EMBEDDING), torch.full((8,), 10)
    model.fit_novelty(EMBEDDING, bags, torch.arange(8) % 2, 3)  # no bag of the third class
    tensors, names = model.state()
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    loaded = AnomalyModel.from_state(tensors, names, SETTINGS.model)
    before, after = model.columns(CONTROLS), loaded.columns(CONTROLS)
    assert [*after] == [*before]
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    assert loaded.novelty is not None
    assert model.novelty is not None
    torch.testing.assert_close(loaded.novelty.score(*bags), model.novelty.score(*bags), rtol=0, atol=0)


def test_a_model_that_is_not_calibrated_or_has_an_unknown_channel_is_refused() -> None:
    model = drain(AnomalyModel.fit(CONTROLS, SETTINGS, CPU))
    with pytest.raises(AmilError, match="not been calibrated"):
        _ = model.calibration
    with pytest.raises(BundleError, match="'dreams', which this program does not know"):
        AnomalyModel.from_state({}, {"channels": ["dreams"]}, SETTINGS.model)
