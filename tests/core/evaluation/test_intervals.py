"""The bootstrap over patients, held against scikit-learn and against what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from napari_amil.core.evaluation.intervals import (
    Fold,
    interval,
    nan_mean,
    patient_weights,
    weighted_accuracy,
    weighted_auroc,
)

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
