"""Metrics have the values that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_amil.core.evaluation.metrics import bag_metrics, cell_metrics

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
