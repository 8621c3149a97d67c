"""The share of abnormal cells, its interval and the test of a sample keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_amil.core.anomaly.calibration import q_value
from napari_amil.core.anomaly.patients import PatientEffects
from napari_amil.core.anomaly.share import abnormal_share

N_PATIENTS, N_CELLS, SPREAD = 12, 60, 0.25


def effects(rng: np.random.Generator) -> PatientEffects:
    """Return the effects of control patients that differ by `SPREAD` in the logarithm."""
    x = rng.normal(size=(N_PATIENTS, N_CELLS)) + SPREAD * rng.normal(size=(N_PATIENTS, 1))
    found = PatientEffects.fit(np.exp(x).ravel(), np.repeat(np.arange(N_PATIENTS), N_CELLS))
    assert found is not None
    return found


def sample(rng: np.random.Generator, share: float, n_cells: int = 80) -> np.ndarray:
    """Return scores of a new patient of whose cells a share is far from controls."""
    n_ill = round(share * n_cells)
    x = rng.normal(size=n_cells) + SPREAD * rng.normal()
    x[:n_ill] += 4.0
    return np.exp(x)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_planted_share_is_found_and_its_interval_holds(share: float) -> None:
    rng = np.random.default_rng(0)
    found = [abnormal_share(sample(rng, share), effects(rng)) for _ in range(120)]
    assert np.mean([one.share for one in found]) == pytest.approx(share, abs=0.1)
    assert np.mean([one.low - 1e-9 <= share <= one.high + 1e-9 for one in found]) >= 0.85
    assert all(one.low <= one.share <= one.high for one in found)


@pytest.mark.parametrize("n_cells", [12, 200])
def test_the_sample_p_of_control_samples_is_uniform(n_cells: int) -> None:
    rng = np.random.default_rng(1)
    p = [abnormal_share(sample(rng, 0.0, n_cells), effects(rng)).p for _ in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_shift_of_all_cells_is_seen_where_no_cell_stands_out() -> None:
    rng = np.random.default_rng(2)
    control = effects(rng)
    scores = np.exp(1.8 + 0.3 * rng.normal(size=100))
    q = q_value(control.survival(scores))
    found = abnormal_share(scores, control)
    assert (q < 0.05).sum() == 0
    assert found.low > 0.5
    assert found.p < 0.01


def test_unknown_scores_are_left_out_and_one_patient_tells_nothing() -> None:
    rng = np.random.default_rng(3)
    scores, control = sample(rng, 0.5), effects(rng)
    assert abnormal_share(np.append(scores, np.nan), control) == abnormal_share(scores, control)
    assert np.isnan([abnormal_share(scores, None).share, abnormal_share(np.array([np.nan]), control).p]).all()
