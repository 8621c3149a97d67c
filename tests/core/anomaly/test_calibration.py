"""Percentiles, p- and q-values say how a distance ranks among control cells that were left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.calibration import Calibration, q_value
from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian, cross_fit
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings

CONTROL = Calibration(torch.tensor([4.0, 1.0, 3.0, 2.0]))
PLAIN = ModelSettings(shrinkage="none", roundness=0.0)


def test_percentiles_count_the_control_cells_below() -> None:
    d = np.array([0.5, 1.0, 2.5, 4.0, 9.0, np.nan])
    np.testing.assert_array_equal(CONTROL.percentile(d), [0, 0, 50, 75, 100, np.nan])


def test_p_values_count_the_control_cells_at_least_as_far() -> None:
    d = np.array([0.5, 1.0, 2.5, 4.0, 9.0, np.nan])
    np.testing.assert_allclose(CONTROL.p_value(d), [1, 1, 3 / 5, 2 / 5, 1 / 5, np.nan])


def test_p_values_of_control_cells_are_uniform() -> None:
    rng = np.random.default_rng(0)
    p = Calibration(rng.chisquare(5, 2000)).p_value(rng.chisquare(5, 5000))
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() == pytest.approx(level, abs=0.015)


def test_q_values_are_benjamini_hochberg_within_the_sample() -> None:
    q = q_value(np.array([0.01, np.nan, 0.04, 0.03, 0.5]))
    np.testing.assert_allclose(q, [0.04, np.nan, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(q_value(np.array([np.nan]))).all()
    assert q_value(np.array([])).shape == (0,)


def test_every_patient_is_scored_by_a_gaussian_that_never_saw_it() -> None:
    latents = torch.randn(90, 3, dtype=torch.float64)
    patients = ["a"] * 40 + ["b"] * 30 + ["c"] * 20
    expected = torch.empty(90, dtype=torch.float64)
    for name in "abc":
        inside = torch.tensor([patient == name for patient in patients])
        gaussian = LatentGaussian(3)
        gaussian.fit(latents[~inside], PLAIN)
        expected[inside] = gaussian.distance(latents[inside].double())
    torch.testing.assert_close(cross_fit(latents, parts_of_patients(patients), PLAIN), expected)


def test_center_and_scale_are_those_of_the_distances() -> None:
    assert CONTROL.center == 2.5
    assert CONTROL.scale == pytest.approx(np.std([1, 2, 3, 4]))


def test_one_patient_or_no_distance_is_refused() -> None:
    with pytest.raises(AmilError, match="only one"):
        parts_of_patients(["a"] * 9)
    with pytest.raises(AmilError, match="finite distances"):
        Calibration(torch.empty(0))
    with pytest.raises(AmilError, match="finite distances"):
        Calibration(torch.tensor([1.0, torch.nan]))
