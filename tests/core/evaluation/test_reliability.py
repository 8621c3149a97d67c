"""Bins of bags by their probability, with their share of right calls."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.lines import Line2D

from napari_amil.core.evaluation.reliability import draw_reliability, reliability_bins


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
    curve = figure.axes[1].lines[-1]
    assert isinstance(curve, Line2D)
    steps = np.column_stack(curve.get_data())
    assert [0.2, 0.5] in steps.tolist()
    assert [0.6, 1.0] in steps.tolist()
    assert figure.axes[1].get_title() == "2 cells of control bags"
