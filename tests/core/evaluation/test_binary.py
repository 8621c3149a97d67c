"""Sensitivity, specificity and net benefit of two classes, by value."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.evaluation.binary import binary_metrics, draw_decision_curve, net_benefit

ILL = np.array([True, True, True, False, False, False, False, False])
P = np.array([0.9, 0.6, 0.2, 0.7, 0.4, 0.3, 0.1, 0.05])


def test_a_threshold_splits_the_bags() -> None:
    found = binary_metrics(ILL, P, 0.5)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(4 / 5)
    assert found["balanced_accuracy_at_threshold"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["brier"] == pytest.approx(np.mean((P - ILL) ** 2))
    assert binary_metrics(ILL, P, 0.2)["sensitivity"] == 1.0


def test_what_cannot_be_known_is_nan() -> None:
    assert np.isnan(binary_metrics(ILL, P, float("nan"))["sensitivity"])
    only_ill = binary_metrics(ILL[:3], P[:3], 0.5)
    assert only_ill["sensitivity"] == pytest.approx(2 / 3)
    assert np.isnan(only_ill["specificity"])
    assert np.isnan(only_ill["balanced_accuracy_at_threshold"])


def test_net_benefit_weighs_false_alarms_by_the_odds() -> None:
    at = np.array([0.25, 0.5])
    np.testing.assert_allclose(net_benefit(ILL, P, at), [(2 - 3 / 3) / 8, (2 - 1) / 8])
    np.testing.assert_allclose(net_benefit(ILL, np.ones(8), at), [(3 - 5 / 3) / 8, (3 - 5) / 8])
    np.testing.assert_allclose(net_benefit(ILL, ILL.astype(float), at), 3 / 8)


def test_the_decision_curve_shows_model_everybody_and_nobody() -> None:
    (ax,) = draw_decision_curve(ILL, P, "malignant").axes
    labels = [line.get_label() for line in ax.get_lines()]
    assert labels == ["by the model", "everybody is called malignant", "nobody is called malignant"]
    x, y = np.asarray(ax.get_lines()[0].get_data())
    np.testing.assert_allclose(y, net_benefit(ILL, P, x))
