"""Patients differ: p-values hold for the next one, and are plain where patients are not known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from napari_amil.core.anomaly.calibration import Calibration, q_value
from napari_amil.core.anomaly.patients import ControlWeights, PatientEffects


def draw(
    rng: np.random.Generator, n_patients: int, spread: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return distances of control cells of exchangeable patients, 10 to 60 each, and whose they are."""
    sizes = rng.integers(10, 60, n_patients)
    patients = np.repeat(np.arange(n_patients), sizes)
    effect = rng.normal(0, spread, n_patients)[patients]
    return np.exp(effect) * np.sqrt(rng.chisquare(8, len(patients))), patients


@pytest.mark.parametrize(("n_patients", "spread"), [(8, 0.0), (8, 0.3), (20, 0.15)])
def test_under_the_null_p_values_are_uniform_and_q_values_silent(n_patients: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    independent, shares = [], []
    for _ in range(100):
        calibration = Calibration(*draw(rng, n_patients, spread))
        p = calibration.p_value(draw(rng, 1, spread)[0])
        independent.append(p[0])  # one cell of one new patient
        shares.append((q_value(p) < 0.05).mean())
    assert stats.kstest(independent, "uniform").pvalue > 0.05
    assert np.mean(np.array(independent) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(shares) <= 0.05


def test_cells_taken_as_exchangeable_are_too_sure_of_themselves() -> None:
    rng = np.random.default_rng(1)
    plain, aware = [], []
    for _ in range(40):
        distances, patients = draw(rng, 5, 0.4)
        others, _ = draw(rng, 20, 0.4)
        plain.append((Calibration(distances).p_value(others) < 0.05).mean())
        aware.append((Calibration(distances, patients).p_value(others) < 0.05).mean())
    assert np.mean(plain) > 0.08
    assert np.mean(aware) < 0.065


def test_the_components_of_variance_are_found() -> None:
    distances, patients = draw(np.random.default_rng(2), 200, 0.3)
    effects = PatientEffects.fit(distances, patients)
    assert effects is not None
    assert effects.spread == pytest.approx(0.3, rel=0.1)
    assert effects.n_patients == 200
    assert effects.weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(np.bincount(patients, effects.weight), 1 / 200)  # 10 cells or 60


def test_the_table_is_the_sum_that_it_stands_for() -> None:
    distances, patients = draw(np.random.default_rng(3), 12, 0.2)
    effects = PatientEffects.fit(distances, patients)
    assert effects is not None
    d = np.linspace(0.5, 12, 40)
    t = (np.log(d)[:, None] - effects.location - effects.residual) / effects.error
    expected = stats.t.sf(t, 11) @ effects.weight
    np.testing.assert_allclose(effects.survival(d), expected, rtol=0.03, atol=1e-4)


def test_a_far_cell_is_no_more_certain_than_the_number_of_patients_allows() -> None:
    rng = np.random.default_rng(4)
    few, many = (Calibration(*draw(rng, n, 0.3)) for n in (3, 40))
    far = np.array([12.0])
    assert few.p_value(far) > 5 * many.p_value(far)
    assert many.p_value(np.array([1e9])) == pytest.approx(1 / (len(many) + 1))


def test_where_enough_patients_have_such_cells_they_are_counted() -> None:
    distances, patients = draw(np.random.default_rng(6), 30, 0.3)
    calibration = Calibration(distances, patients)
    for d in np.quantile(distances, [0.0, 0.3, 0.6, 0.85]):
        shares = [(distances[patients == k] >= d).mean() for k in range(30)]
        assert calibration.p_value(np.array([d])) == pytest.approx((1 + np.sum(shares)) / 31)
    p = calibration.p_value(np.linspace(distances.min(), 2 * distances.max(), 2000))
    assert (np.diff(p) <= 1e-12).all()
    assert -np.diff(np.log(p)).min() < 0.1  # the model of the tail takes over without a leap
    assert p[-1] < 1 / 31 / 3


def test_patients_who_lie_far_off_to_one_side_spoil_the_model_but_not_the_p_values() -> None:
    counted, modelled = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        d = np.exp(rng.exponential(0.35, 2100))[:, None] * np.sqrt(rng.chisquare(8, (2100, 6)))
        known, whose = d[:100].ravel(), np.repeat(np.arange(100), 6)
        model = PatientEffects.fit(known, whose)
        assert model is not None
        for found, p in (
            (counted, Calibration(known, whose).p_value(d[100:, 0])),
            (modelled, model.survival(d[100:, 0])),
        ):
            found.append([(p < level).mean() for level in (0.01, 0.5)])
    (rare, half), (rare_by_model, half_by_model) = np.mean(counted, axis=0), np.mean(modelled, axis=0)
    assert rare < 0.02 < rare_by_model
    assert half == pytest.approx(0.5, abs=0.04)
    assert half_by_model < 0.45


def test_one_patient_or_one_cell_each_gives_plain_conformal_values() -> None:
    d, query = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 2.5, 9.0])
    plain = Calibration(d).p_value(query)
    np.testing.assert_allclose(plain, [1, 3 / 5, 1 / 5])
    np.testing.assert_array_equal(Calibration(d, ["a"] * 4).p_value(query), plain)
    np.testing.assert_array_equal(Calibration(d, list("abcd")).p_value(query), plain)


def test_percentiles_count_patients_alike() -> None:
    d = np.concatenate([np.full(90, 1.0), np.full(90, 1.1), np.full(10, 3.0), np.full(10, 3.1)])
    patients = np.repeat([0, 0, 1, 1], [90, 90, 10, 10])
    calibration = Calibration(d, patients)
    assert calibration.percentile(np.array([2.0])) == pytest.approx(50)
    error = calibration.percentile_error(np.array([2.0, 9.0, np.nan]))
    assert error[0] == pytest.approx(50)  # of two patients one lies wholly below
    assert error[1] == pytest.approx(0, abs=1e-9)
    assert np.isnan(error[2])
    assert np.isnan(Calibration(d).percentile_error(np.array([2.0]))).all()


def test_the_error_of_a_percentile_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(5)
    distances, patients = draw(rng, 30, 0.3)
    calibration = Calibration(distances, patients)
    at = np.array([2.0, 3.0, 4.0])
    drawn = []
    for _ in range(300):
        chosen = np.concatenate([np.flatnonzero(patients == k) for k in rng.integers(30, size=30)])
        weight = 1 / np.bincount(patients)[patients[chosen]]
        drawn.append([weight[distances[chosen] < d].sum() / weight.sum() for d in at])
    np.testing.assert_allclose(calibration.percentile_error(at), 100 * np.std(drawn, axis=0), rtol=0.15)


def test_every_unit_counts_alike_and_small_ones_not_at_all() -> None:
    units = ["a"] * 30 + ["b"] * 10 + ["c"] * 9
    weights = ControlWeights.from_units(units, np.array([True] * 30 + [False] * 19))
    np.testing.assert_allclose(weights.covariance, [1 / 60] * 30 + [1 / 20] * 10 + [0] * 9)
    np.testing.assert_allclose(weights.mean, [1 / 30] * 30 + [0] * 19)
    small = weights.take(np.arange(40, 49))  # neither a large unit nor the reference is left
    np.testing.assert_allclose(small.covariance, 1 / 9)
    np.testing.assert_allclose(small.mean, 1 / 9)


def test_small_units_count_where_the_reference_has_no_larger_one() -> None:
    weights = ControlWeights.from_units(["a"] * 30 + ["b"] * 4, np.arange(34) >= 30)
    np.testing.assert_allclose(weights.covariance, [1 / 60] * 30 + [1 / 8] * 4)
    np.testing.assert_allclose(weights.mean, [0] * 30 + [1 / 4] * 4)
