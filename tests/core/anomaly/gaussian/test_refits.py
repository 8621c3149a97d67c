"""The error of a distance is that of Gaussians fitted anew to patients drawn with replacement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.refits import ControlMoments
from napari_amil.core.anomaly.patients import N_REFITS, ControlWeights, drawn_patients
from napari_amil.core.base.settings import ModelSettings

K, N_PATIENTS, N_CELLS = 4, 12, 60
SETTINGS = ModelSettings(latent_dim=K, shrinkage="none", roundness=0.3)


def controls() -> tuple[torch.Tensor, np.ndarray]:
    """Return embeddings ``(n, 2, k)`` of patients that differ, and the patient of each."""
    patients = np.repeat(np.arange(N_PATIENTS), N_CELLS)
    effect = torch.randn(N_PATIENTS, 1, K)[torch.from_numpy(patients)]
    return 5 + effect + torch.randn(len(patients), 2, K), patients


def fitted(latents: torch.Tensor, settings: ModelSettings = SETTINGS) -> LatentGaussian:
    gaussian = LatentGaussian(K)
    gaussian.fit(latents, settings)
    return gaussian


def test_sums_give_what_a_fit_to_the_cells_gives() -> None:
    latents, patients = controls()
    gaussian = fitted(latents)
    moments = ControlMoments.from_controls(latents, patients, gaussian)
    assert moments is not None
    z = 8 * torch.randn(50, 2, K)
    rng = np.random.default_rng(0)
    refits = []
    for _ in range(400):
        drawn = rng.integers(N_PATIENTS, size=N_PATIENTS)
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in drawn])
        refits.append(fitted(latents[rows]).distance(z))
    expected = torch.stack(refits).std(dim=0)
    error = moments.distances(z, gaussian, SETTINGS).std(dim=0)
    assert float((error / expected).median()) == pytest.approx(1, abs=0.12)
    assert np.corrcoef(error, expected)[0, 1] > 0.95


def test_a_cell_has_the_same_distances_alone_and_its_own_nan() -> None:
    latents, patients = controls()
    gaussian = fitted(latents)
    moments = ControlMoments.from_controls(latents, patients, gaussian)
    assert moments is not None
    z = torch.randn(5, 2, K)
    z[2] = torch.nan
    together = moments.distances(z, gaussian, SETTINGS)
    alone = torch.cat([moments.distances(row[None], gaussian, SETTINGS) for row in z], dim=1)
    torch.testing.assert_close(together, alone, equal_nan=True, rtol=1e-4, atol=1e-5)
    assert together.std(dim=0).isnan().tolist() == [False, False, True, False, False]
    assert moments.distances(z[:0], gaussian, SETTINGS).shape == (N_REFITS, 0)


def test_few_cells_far_apart_are_drawn_anew_although_nothing_rounds_their_covariance() -> None:
    k = 64
    latents = 100 * torch.relu(torch.randn(100, k) @ torch.randn(k, k) / k**0.5)
    plain = ModelSettings(latent_dim=k, shrinkage="none", roundness=0.0)
    gaussian = LatentGaussian(k)
    gaussian.fit(latents, plain)
    moments = ControlMoments.from_controls(latents, np.arange(100) % 10, gaussian)
    assert moments is not None
    assert torch.isfinite(moments.distances(latents[:5], gaussian, plain)).all()


def test_more_patients_make_a_surer_distance() -> None:
    latents, patients = controls()
    gaussian = fitted(latents)
    few = ControlMoments.from_controls(latents, patients % 3, gaussian)
    many = ControlMoments.from_controls(latents, np.arange(len(patients)), gaussian)
    assert few is not None
    assert many is not None
    z = 8 * torch.randn(30, K)
    errors = [moments.distances(z, gaussian, SETTINGS).std(dim=0).mean() for moments in (many, few)]
    assert errors[0] < errors[1]


def test_what_cannot_be_drawn_anew_has_no_error() -> None:
    latents, patients = controls()
    assert ControlMoments.from_controls(latents, np.zeros(len(patients)), fitted(latents)) is None
    nearest = ModelSettings(latent_dim=K, n_components=2, mixture="min")
    assert ControlMoments.from_controls(latents, patients, fitted(latents, nearest)) is None
    whole = ModelSettings(latent_dim=K, n_components=2, mixture="moment")
    assert ControlMoments.from_controls(latents, patients, fitted(latents, whole)) is not None


def test_weighed_sums_give_what_weighed_fits_to_the_cells_give() -> None:
    latents, patients = controls()
    size = np.arange(len(latents)) % N_CELLS < np.arange(20, 20 + N_PATIENTS)[patients]  # 20 to 31 cells
    latents, patients = latents[torch.from_numpy(size)], patients[size]
    weights = ControlWeights.from_units(patients, patients < 8)
    gaussian = LatentGaussian(K)
    gaussian.fit(latents, SETTINGS, weights=weights)
    moments = ControlMoments.from_controls(latents, patients, gaussian, weights)
    assert moments is not None
    z = 8 * torch.randn(5, 2, K)
    found = moments.distances(z, gaussian, SETTINGS)
    for number, draw in enumerate(drawn_patients(N_PATIENTS)[:5].numpy()):
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in draw])
        refit = LatentGaussian(K)
        refit.fit(latents[torch.from_numpy(rows)], SETTINGS, weights=weights.take(rows))
        torch.testing.assert_close(found[number], refit.distance(z), rtol=1e-4, atol=1e-4)


def test_moments_of_an_older_file_weigh_mean_and_covariance_alike() -> None:
    latents, patients = controls()
    gaussian = fitted(latents)
    moments = ControlMoments.from_controls(latents, patients, gaussian)
    assert moments is not None
    older = {name: value for name, value in moments.state_dict().items() if not name.startswith("mean_")}
    again = ControlMoments.from_state(older)
    z = torch.randn(5, 2, K)
    torch.testing.assert_close(
        again.distances(z, gaussian, SETTINGS), moments.distances(z, gaussian, SETTINGS)
    )
