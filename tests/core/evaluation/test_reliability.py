"""Metrics of p-values and probabilities are those of their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.lines import Line2D

from napari_amil.core.base.types import ABSTAIN, UNSEEN
from napari_amil.core.evaluation.metrics import share_metrics
from napari_amil.core.evaluation.reliability import (
    calibration_error,
    draw_reliability,
    null_metrics,
    reliability_bins,
    risk_coverage,
    verdict_metrics,
)


def test_uniform_p_values_pass() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(2000)
    found = null_metrics(p, np.ones(2000), np.repeat(np.arange(100), 20))
    assert found["null_n_units"] == 100
    assert found["null_ks_p"] > 0.05
    assert found["null_share_p05"] == pytest.approx(0.05, abs=0.02)
    assert found["null_share_q05"] == 0


def test_p_values_that_are_too_small_are_found() -> None:
    p = np.random.default_rng(0).random(2000) ** 2
    found = null_metrics(p, p, np.repeat(np.arange(100), 20))
    assert found["null_ks_p"] < 0.01
    assert found["null_share_p05"] == found["null_share_q05"] == pytest.approx(0.05**0.5, abs=0.03)


def test_units_count_alike_and_what_is_unknown_is_left_out() -> None:
    p = np.array([0.01, 0.5, 0.5, 0.5, np.nan])
    found = null_metrics(p, p, np.array(["a", "b", "b", "b", "c"]))
    assert found["null_n_units"] == 2
    assert found["null_share_p05"] == 0.5
    none = null_metrics(p[4:], p[4:], np.array(["c"]))
    assert none["null_n_units"] == 0
    assert np.isnan(none["null_ks_p"])


def test_bins_have_equal_sizes_and_wilson_intervals() -> None:
    probability = np.array([0.9, 0.4, 0.8, 0.5, 0.95, 0.45, 0.85, 0.55])
    correct = np.array([True, False, True, True, True, False, True, False])
    low, high = reliability_bins(correct, probability)
    assert low[:2] == (pytest.approx(0.475), pytest.approx(0.25))
    assert high[:2] == (pytest.approx(0.875), pytest.approx(1.0))
    assert low[2:] == (pytest.approx(0.04559, abs=1e-4), pytest.approx(0.69936, abs=1e-4))


def test_few_bags_are_one_bin() -> None:
    assert len(reliability_bins(np.array([True]), np.array([0.7]))) == 1


def test_the_figure_shows_every_known_p_value() -> None:
    p = np.array([0.2, np.nan, 0.6])
    figure = draw_reliability(np.array([True, False]), np.array([0.7, 0.6]), p)
    curve = figure.axes[2].lines[-1]
    assert isinstance(curve, Line2D)
    steps = np.column_stack(curve.get_data())
    assert [0.2, 0.5] in steps.tolist()
    assert [0.6, 1.0] in steps.tolist()
    assert figure.axes[2].get_title() == "2 cells of control bags"


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    correct = np.array([True, True, True, False, True, False])
    probability = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    assert calibration_error(correct, probability) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert np.isnan(calibration_error(correct[:0], probability[:0]))


def test_the_risk_counts_the_most_certain_first() -> None:
    coverage, risk = risk_coverage(np.array([False, True, True, False]), np.array([0.5, 0.9, 0.8, 0.7]))
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0.0, 0.0, 1 / 3, 0.5])


def test_shares_are_compared_where_both_are_known() -> None:
    true = np.array([0.1, 0.5, 0.9, np.nan])
    found = share_metrics(true, true + 0.1, true - 0.05, np.array([0.2, 0.45, 1.0, 1.0]))
    assert found["share_n"] == 3
    assert found["share_r"] == pytest.approx(1.0)
    assert found["share_mae"] == pytest.approx(0.1)
    assert found["share_coverage"] == pytest.approx(2 / 3)
    assert np.isnan(share_metrics(true[3:], true[3:], true[3:], true[3:])["share_mae"])


def test_verdicts_are_counted_by_kind() -> None:
    said = ["control", "ill", "ill", ABSTAIN, UNSEEN, "control"]
    true = ["control", "ill", "control", "control", "ill", "ill"]
    assert verdict_metrics(said, true, "control") == {
        "verdict_named": 4,
        "verdict_abstain": 1,
        "verdict_unseen": 1,
        "verdict_right": 2,
        "verdict_control": 1,
    }
