"""The closed form is scikit-learn's mixture of one, and the distance is scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.mixture import GaussianMixture

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings

PLAIN = ModelSettings(shrinkage="none", roundness=0.0)
SHRUNK = ModelSettings(shrinkage="ledoit-wolf", roundness=0.0)


def latents(n: int, k: int, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) @ rng.normal(size=(k, k)) + rng.normal(size=k)


def fitted(z: NDArray[np.float64], settings: ModelSettings = PLAIN) -> LatentGaussian:
    gaussian = LatentGaussian(z.shape[1])
    gaussian.fit(z, settings)
    return gaussian


def test_the_closed_form_is_the_mixture_of_one_component() -> None:
    z = latents(200, 6)
    gaussian = fitted(z)
    mixture = GaussianMixture(1, covariance_type="full", reg_covar=1e-6, random_state=0).fit(z)
    np.testing.assert_allclose(gaussian.mean.numpy(), mixture.means_[0], atol=1e-6)
    np.testing.assert_allclose(gaussian.precision.numpy(), mixture.precisions_[0], rtol=1e-6, atol=1e-6)
    assert int(gaussian.n_cells) == 200


def test_distances_are_those_of_scipy() -> None:
    z, others = latents(100, 5), latents(20, 5, seed=1)
    gaussian = fitted(z)
    inverse = np.linalg.inv(np.cov(z.T, bias=True) + 1e-6 * np.eye(5))
    expected = [mahalanobis(row, z.mean(axis=0), inverse) for row in others]
    np.testing.assert_allclose(gaussian.distance(torch.from_numpy(others)).numpy(), expected, rtol=1e-9)


def test_few_cells_are_shrunk_and_announced() -> None:
    z = latents(99, 10)
    gaussian = LatentGaussian(10)
    note = gaussian.fit(z, ModelSettings(latent_dim=10, roundness=0.0))
    assert "99 control cells for 10 dimensions" in note
    reference = LedoitWolf().fit(z)
    assert float(gaussian.shrinkage) == pytest.approx(reference.shrinkage_)
    np.testing.assert_allclose(gaussian.precision.numpy(), reference.precision_, rtol=1e-3)


def test_enough_cells_are_not_shrunk() -> None:
    gaussian = LatentGaussian(10)
    assert gaussian.fit(latents(100, 10), ModelSettings(latent_dim=10, roundness=0.0)) == ""
    assert float(gaussian.shrinkage) == 0.0


def test_shrinkage_keeps_fresh_control_cells_near() -> None:
    rng = np.random.default_rng(0)
    seen, fresh = rng.normal(size=(60, 50)), torch.from_numpy(rng.normal(size=(60, 50)))
    plain = fitted(seen).distance(fresh).median()
    shrunk = fitted(seen, SHRUNK).distance(fresh).median()
    assert float(shrunk) == pytest.approx(50**0.5, rel=0.1)
    assert float(plain) > 2 * float(shrunk)


def test_a_round_gaussian_measures_the_plain_distance() -> None:
    z, others = latents(200, 4), torch.from_numpy(latents(9, 4, seed=1))
    gaussian = fitted(z, ModelSettings(shrinkage="none", roundness=1.0))
    length = torch.linalg.vector_norm(others - gaussian.mean, dim=1)
    torch.testing.assert_close(
        gaussian.distance(others), length / z.var(axis=0).mean() ** 0.5, rtol=1e-5, atol=0
    )


def test_roundness_is_a_share_of_the_covariance() -> None:
    z = latents(200, 4)
    covariance = np.cov(z.T, bias=True)
    expected = 0.3 * covariance + 0.7 * np.trace(covariance) / 4 * np.eye(4) + 1e-6 * np.eye(4)
    gaussian = fitted(z, ModelSettings(shrinkage="none", roundness=0.7))
    np.testing.assert_allclose(np.linalg.inv(gaussian.precision.numpy()), expected, rtol=1e-6, atol=1e-9)


def test_no_gradient_flows_through_the_distance() -> None:
    z = torch.from_numpy(latents(50, 4)).requires_grad_()
    assert not fitted(latents(50, 4)).distance(z).requires_grad


def test_a_batch_is_scored_as_cell_by_cell_and_nan_stays_nan() -> None:
    gaussian = fitted(latents(80, 4))
    z = torch.from_numpy(latents(7, 4, seed=2)).float()
    z[3] = torch.nan
    single = torch.cat([gaussian.distance(row[None]) for row in z])
    together = gaussian.distance(z)
    torch.testing.assert_close(together, single, equal_nan=True)
    assert together.dtype == torch.float32
    assert together.isnan().tolist() == [False] * 3 + [True] + [False] * 3


def test_buffers_reproduce_the_distances_without_the_data() -> None:
    gaussian, z = fitted(latents(80, 4)), torch.from_numpy(latents(9, 4, seed=3))
    other = LatentGaussian(4)
    other.load_state_dict(gaussian.state_dict())
    torch.testing.assert_close(other.distance(z), gaussian.distance(z), rtol=0, atol=0)


def test_an_unfitted_gaussian_refuses() -> None:
    with pytest.raises(AmilError, match="not been fitted"):
        LatentGaussian(3).distance(torch.zeros(1, 3))


def test_unusable_latents_are_refused() -> None:
    with pytest.raises(AmilError, match="at least 2 control cells"):
        LatentGaussian(3).fit(np.zeros((1, 3)), PLAIN)
    with pytest.raises(AmilError, match="not finite"):
        LatentGaussian(3).fit(np.full((5, 3), np.nan), PLAIN)


def test_with_every_unit_alike_the_covariance_is_that_of_cells_and_of_units() -> None:
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(300), rng.integers(10, 90, 300))
    within, between = np.diag([1.0, 4.0, 0.25]), np.diag([2.0, 0.0, 1.0])
    effect = rng.multivariate_normal(np.zeros(3), between, 300)[units]
    z = effect + rng.multivariate_normal(np.zeros(3), within, len(units))
    gaussian = LatentGaussian(3)
    gaussian.fit(z, PLAIN, weights=ControlWeights.from_units(units))
    np.testing.assert_allclose(np.linalg.inv(gaussian.precision.numpy()), within + between, atol=0.3)
    views = LatentGaussian(3)
    views.fit(np.stack([z, z], axis=1), PLAIN, weights=ControlWeights.from_units(units))
    np.testing.assert_allclose(views.precision.numpy(), gaussian.precision.numpy(), rtol=1e-9)


def test_the_mean_is_that_of_the_reference_and_the_covariance_lies_around_it() -> None:
    z, other = latents(40, 3), latents(20, 3, seed=1) + 5.0
    weights = ControlWeights.from_units(["a"] * 40 + ["b"] * 20, np.arange(60) < 40)
    gaussian = LatentGaussian(3)
    gaussian.fit(np.concatenate([z, other]), PLAIN, weights=weights)
    np.testing.assert_allclose(gaussian.mean.numpy(), z.mean(axis=0), rtol=1e-9)
    apart = [part - z.mean(axis=0) for part in (z, other)]
    covariance = sum(part.T @ part / len(part) for part in apart) / 2 + 1e-6 * np.eye(3)
    np.testing.assert_allclose(np.linalg.inv(gaussian.precision.numpy()), covariance, rtol=1e-6)


def test_several_gaussians_see_the_reference_alone() -> None:
    z, settings = latents(60, 3), PLAIN.model_copy(update={"n_components": 2, "mixture": "min"})
    weights = ControlWeights.from_units(["a"] * 40 + ["b"] * 20, np.arange(60) < 40)
    weighed, alone = LatentGaussian(3), LatentGaussian(3)
    weighed.fit(z, settings, weights=weights)
    alone.fit(z[:40], settings)
    np.testing.assert_array_equal(weighed.factor.numpy(), alone.factor.numpy())
