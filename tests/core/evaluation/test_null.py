"""Uniform p-values pass, small ones are found, and cells of one patient count as one."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.evaluation.null import null_metrics


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
