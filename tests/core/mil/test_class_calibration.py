"""Class probabilities are as often right as they say, and class sets hold the true class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from napari_amil.core.mil.class_calibration import ClassCalibration, class_probability

N_CLASSES = 4


def bags(n_patients: int, per_patient: int, temperature: float, seed: int) -> tuple[np.ndarray, ...]:
    """Return logits that are ``temperature`` times too large, true classes and patients."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(n_patients * per_patient, N_CLASSES))
    drawn = softmax(logits, axis=1).cumsum(axis=1) > rng.random((len(logits), 1))
    return temperature * logits, drawn.argmax(axis=1), np.repeat(np.arange(n_patients), per_patient)


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(planted: float) -> None:
    fitted = ClassCalibration.fit(*bags(2000, 2, planted, seed=0))
    assert float(fitted.temperature) == pytest.approx(planted, rel=0.1)


def test_every_patient_counts_alike() -> None:
    logits, labels, patients = bags(40, 1, 2.0, seed=1)
    alone = ClassCalibration.fit(logits, labels, patients)
    often = np.repeat(np.arange(40), np.arange(40) % 7 + 1)
    copies = ClassCalibration.fit(logits[often], labels[often], patients[often])
    assert float(copies.temperature) == pytest.approx(float(alone.temperature), rel=1e-3)


def test_class_sets_hold_the_true_class_of_nine_in_ten_new_patients() -> None:
    held = []
    for seed in range(60):
        logits, labels, patients = bags(31, 3, 2.0, seed)
        known = patients < 30
        fitted = ClassCalibration.fit(logits[known], labels[known], patients[known])
        inside = fitted.class_sets(fitted.probability(logits[~known]))
        held.append(inside[np.arange(3), labels[~known]].mean())
    assert 0.86 < np.mean(held) <= 0.97


def test_few_patients_give_sets_of_all_classes_and_no_set_is_empty() -> None:
    logits, labels, patients = bags(8, 5, 1.0, seed=0)
    fitted = ClassCalibration.fit(logits, labels, patients)
    assert fitted.class_sets(fitted.probability(logits)).all()
    certain = ClassCalibration.fit(20.0 * np.eye(4)[labels], labels, np.arange(len(labels)))
    assert (certain.class_sets(np.array([[0.4, 0.3, 0.2, 0.1]])) == [[True, False, False, False]]).all()


def test_tensors_tell_everything_and_without_a_calibration_the_temperature_is_1() -> None:
    logits, labels, patients = bags(30, 2, 2.0, seed=3)
    fitted = ClassCalibration.fit(logits, labels, patients)
    loaded = ClassCalibration.from_state(fitted.state_dict())
    probability = class_probability(logits, fitted)
    np.testing.assert_array_equal(class_probability(logits, loaded), probability)
    np.testing.assert_array_equal(loaded.class_sets(probability), fitted.class_sets(probability))
    np.testing.assert_allclose(class_probability(logits, None), softmax(logits, axis=1))
