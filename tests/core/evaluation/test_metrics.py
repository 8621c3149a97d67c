"""Metrics equal those of scikit-learn, and intervals are those of a bootstrap over patients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from napari_amil.core.evaluation.metrics import (
    Fold,
    bag_metrics,
    cell_metrics,
    interval,
    nan_mean,
    patient_weights,
    weighted_accuracy,
    weighted_auroc,
)

CLASSES = ("control", "ill", "rare")


def test_metrics_of_four_bags() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1]])
    found = bag_metrics(labels, probabilities, CLASSES)
    assert found["n_bags"] == 4
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == 0.75
    assert found["weighted_f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert found["macro_auroc"] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert found["auprc_control"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["auprc_ill"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["macro_auprc"] == pytest.approx(5 / 6)
    assert math.isnan(found["auprc_rare"])


def test_perfect_bags() -> None:
    found = bag_metrics(np.arange(3), np.eye(3), CLASSES)
    assert {name: value for name, value in found.items() if name != "n_bags"} == {
        name: 1.0 for name in found if name != "n_bags"
    }


def test_what_the_bags_cannot_tell_is_nan() -> None:
    one = bag_metrics(np.array([0]), np.array([[0.2, 0.5, 0.3]]), CLASSES)
    assert one["accuracy"] == one["balanced_accuracy"] == 0.0
    assert math.isnan(one["macro_auroc"])
    none = bag_metrics(np.array([]), np.empty((0, 3)), CLASSES)
    assert none["n_bags"] == 0
    assert math.isnan(none["accuracy"])
    assert set(none) == set(one)


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bags of 3 classes"):
        bag_metrics(np.zeros(4), np.zeros((4, 2)), CLASSES)


def test_cells_of_known_type_are_ranked() -> None:
    types = np.array(["normal", "burr", "normal", "target", "", "burr"])
    scores = {"anomaly": np.array([1.0, 3.0, 2.0, 1.5, 0.0, np.nan]), "attention": np.arange(6.0)}
    found = cell_metrics(types, scores)
    assert found["cell_auroc_anomaly"] == pytest.approx(3 / 4)
    assert found["cell_auroc_attention"] == pytest.approx(5 / 6)


def test_cells_without_known_types_have_no_area() -> None:
    assert math.isnan(cell_metrics(np.array(["", ""]), {"anomaly": np.ones(2)})["cell_auroc_anomaly"])


LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
PATIENTS = ["a", "a", "b", "c", "d", "e", "e", "f"]


def _fold() -> Fold:
    probabilities = np.random.default_rng(1).dirichlet(np.ones(3), len(LABELS)).round(1)  # with ties
    return Fold(np.arange(len(LABELS)), LABELS, probabilities)


def test_patients_are_drawn_whole_and_within_their_class() -> None:
    weights = patient_weights(LABELS, PATIENTS, 500)
    assert weights.shape == (500, 8)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 2], 2)
    np.testing.assert_array_equal(weights[:, 3] + weights[:, 4], 2)
    assert weights[:, 0].mean() == pytest.approx(1.0, abs=0.1)
    np.testing.assert_array_equal(weights, patient_weights(LABELS, PATIENTS, 500))


def test_weighted_figures_equal_those_of_repeated_bags() -> None:
    fold = _fold()
    weights = patient_weights(LABELS, PATIENTS, 20)
    accuracy, areas = weighted_accuracy(fold, weights), weighted_auroc(fold, weights)
    for row, own in enumerate(weights.astype(int)):
        labels, p = np.repeat(fold.labels, own), np.repeat(fold.probabilities, own, axis=0)
        assert accuracy[row] == pytest.approx((p.argmax(axis=1) == labels).mean())
        expected = np.mean([roc_auc_score(labels == c, p[:, c]) for c in range(3)])
        assert areas[row] == pytest.approx(expected)


def test_a_class_that_a_resample_lacks_is_left_out_of_the_mean() -> None:
    fold = _fold()
    weights = np.array([[1.0, 1, 1, 0, 0, 1, 1, 1], [0.0] * 8])
    present = fold.labels != 1
    labels, p = fold.labels[present], fold.probabilities[present]
    expected = np.mean([roc_auc_score(labels == c, p[:, c]) for c in (0, 2)])
    found = weighted_auroc(fold, weights)
    assert found[0] == pytest.approx(expected)
    assert np.isnan(found[1])
    assert np.isnan(weighted_accuracy(fold, weights)[1])


def test_an_interval_leaves_out_what_is_unknown() -> None:
    assert interval(np.append(np.arange(101.0), np.nan)) == pytest.approx((2.5, 97.5))
    assert np.isnan(interval(np.array([np.nan]))).all()
    assert np.isnan(nan_mean(np.full((2, 2), np.nan), axis=0)).all()
