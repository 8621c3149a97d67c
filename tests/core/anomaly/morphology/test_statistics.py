"""Deviations, distance and words follow from the control cells alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf

from napari_amil.core.anomaly.morphology.statistics import ControlMorphology, whole_cells
from napari_amil.core.anomaly.morphology.words import morphology_in_words
from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.base.errors import AmilError
from napari_amil.core.morphology.measures import NAMES

N = len(NAMES)


@pytest.fixture
def normal() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, (4000, N))


def test_deviations_of_a_normal_distribution_are_standard_scores(normal: np.ndarray) -> None:
    z = ControlMorphology.fit(normal).deviations(normal)
    np.testing.assert_allclose(z, (normal - 3) / 2, atol=0.35)
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1.0, abs=0.03)


def test_ninety_five_percent_lie_within_196_however_skewed() -> None:
    skewed = np.random.default_rng(0).lognormal(0.0, 0.5, (4000, N))
    z = ControlMorphology.fit(skewed).deviations(skewed)
    assert (z > 1.96).mean() == pytest.approx(0.025, abs=0.001)
    assert (z < -1.96).mean() == pytest.approx(0.025, abs=0.001)


def test_unknown_stays_unknown(normal: np.ndarray) -> None:
    control = ControlMorphology.fit(normal)
    row = normal[:1].copy()
    row[0, 0] = np.nan
    assert np.isnan(control.deviations(row)[0, 0])
    assert np.isfinite(control.distance(row)[0])
    assert np.isnan(control.distance(np.full((1, N), np.nan))[0])


def test_distance_is_that_of_scipy(normal: np.ndarray) -> None:
    control = ControlMorphology.fit(normal, 0.5)
    z = control.deviations(normal)
    z[:, NAMES.index("blueness")] = 0
    covariance, _ = ledoit_wolf(z)
    covariance = 0.5 * covariance + 0.5 * np.trace(covariance) / N * np.eye(N)
    inverse = np.linalg.inv(covariance + 1e-6 * np.eye(N))
    expected = [mahalanobis(row, z.mean(axis=0), inverse) for row in z[:20]]
    np.testing.assert_allclose(control.distance(normal[:20]), expected, rtol=1e-6)


def test_it_is_saved_and_loaded(normal: np.ndarray) -> None:
    control, loaded = ControlMorphology.fit(normal), ControlMorphology()
    loaded.load_state_dict(control.state_dict())
    np.testing.assert_array_equal(loaded.distance(normal[:9]), control.distance(normal[:9]))


def test_unmeasured_cells_do_not_calibrate_unless_no_cell_was_measured() -> None:
    measurements = np.full((3, N), np.nan)
    assert whole_cells(measurements).tolist() == [True, True, True]
    measurements[1, 0] = 1.0
    assert whole_cells(measurements).tolist() == [False, True, False]


def test_few_control_cells_are_refused(normal: np.ndarray) -> None:
    with pytest.raises(AmilError, match="20 whole control cells or more, not 7"):
        ControlMorphology.fit(normal[:7])


def test_words_name_the_largest_deviation_first(normal: np.ndarray) -> None:
    control = ControlMorphology.fit(normal)
    measured = np.full((1, N), 3.0)
    measured[0, [NAMES.index(name) for name in ("aspect_ratio", "pallor_area", "density")]] = 9.0, -1.3, 4.0
    z = control.deviations(measured)[0]
    row = {f"morph_{name}": value for name, value in zip(NAMES, measured[0], strict=True)}
    row |= {f"morph_{name}_z": value for name, value in zip(NAMES, z, strict=True)}
    assert morphology_in_words(row, control) == [
        "longer than 99.9 % of control cells",
        "smaller central pallor than 98 % of control cells",
    ]


def test_cells_that_have_as_much_are_not_exceeded(normal: np.ndarray) -> None:
    normal[:, 0] = np.repeat([0.0, 1.0], [3920, 80])  # a spicule of one cell in fifty
    control, name = ControlMorphology.fit(normal), NAMES[0]
    assert 0.975 < control.share_exceeded(name, 1.0, high=True) <= 0.99  # quantiles in between are not kept
    assert control.share_exceeded(name, 2.0, high=True) == 0.999
    assert 0.01 <= control.share_exceeded(name, 0.0, high=False) <= 0.025 + 1e-9
    assert control.share_exceeded(name, -1.0, high=False) == 0.999


def test_words_of_an_unmeasured_cell_are_none(normal: np.ndarray) -> None:
    assert morphology_in_words({"cell_id": 1}, ControlMorphology.fit(normal)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_measurement_has_words_for_little_and_for_much(normal: np.ndarray, name: str) -> None:
    control = ControlMorphology.fit(normal)
    low, high = (
        morphology_in_words({f"morph_{name}": value, f"morph_{name}_z": z}, control)[0]
        for value, z in ((-3.0, -3.0), (9.0, 3.0))
    )
    assert low != high
    assert low.endswith(" % of control cells")


def test_other_units_widen_the_distance_but_not_the_deviations(normal: np.ndarray) -> None:
    shift = np.zeros(N)
    shift[1] = 6.0
    both = np.concatenate([normal[:400], normal[400:500] + shift])
    weights = ControlWeights.from_units(["a"] * 400 + ["b"] * 100, np.arange(500) < 400)
    alone, weighed = ControlMorphology.fit(normal[:400]), ControlMorphology.fit(both, 0.0, weights)
    np.testing.assert_array_equal(weighed.quantiles, alone.quantiles)
    np.testing.assert_allclose(weighed.mean, alone.mean, atol=1e-12)
    rows = np.full((2, N), 3.0)
    rows[0, 1] += 6.0  # as the other unit
    rows[1, 2] += 6.0
    towards, across = weighed.distance(rows) / alone.distance(rows)
    assert towards < 0.6
    assert across == pytest.approx(1.0, abs=0.15)
