"""Named measurements of a bag in a logistic regression: features by value, missing classes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.evaluation.measurement_baseline import bag_features, baseline_probabilities


def test_features_are_mean_and_deciles_of_the_known_cells() -> None:
    measured = np.column_stack([np.arange(11.0), np.full(11, np.nan)])
    measured = np.vstack([measured, [np.nan, 5.0]])
    (first, second) = bag_features(measured, [np.arange(12), np.arange(11)])
    assert first[0] == pytest.approx(5.0)
    np.testing.assert_allclose(first[2::2], np.arange(1.0, 10.0))
    np.testing.assert_allclose(first[3::2], 5.0)
    assert np.isnan(second[1::2]).all()


def test_separable_bags_are_told_apart_and_a_class_without_training_gets_nothing() -> None:
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(400, 3))
    measured[200:, 1] += 3.0
    x = bag_features(measured, np.split(np.arange(400), 40))
    labels = np.repeat([0, 2], 20)
    probabilities = baseline_probabilities(x[::2], labels[::2], x[1::2], 3)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), labels[1::2])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (probabilities[:, 1] == 0).all()
