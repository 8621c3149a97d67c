"""Mixtures are scikit-learn's; their moments and distances are those of the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian, cross_fit
from napari_amil.core.anomaly.gaussian.mixture import fit_mixture
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings


def settings(**changes: object) -> ModelSettings:
    return ModelSettings.parse({"shrinkage": "none", "roundness": 0.0, "n_components": 2, **changes})


def two_clouds(n: int = 150, seed: int = 0) -> NDArray[np.float64]:
    """Return two thirds of the rows around 0, the others far away and wider."""
    rng = np.random.default_rng(seed)
    near, far = rng.normal(size=(2 * n // 3, 3)), 3 * rng.normal(size=(n // 3, 3)) + 20
    return np.concatenate((near, far))


def fitted(z: NDArray[np.float64], wanted: ModelSettings, seed: int = 0) -> LatentGaussian:
    gaussian = LatentGaussian(z.shape[1])
    gaussian.fit(z, wanted, seed)
    return gaussian


def reference(z: NDArray[np.float64], fit: str = "em", n: int = 2, seed: int = 0) -> GaussianMixture:
    kind = GaussianMixture if fit == "em" else BayesianGaussianMixture
    return kind(n_components=n, init_params="random", random_state=seed).fit(z)


@pytest.mark.parametrize("fit", ["em", "bayes"])
def test_the_mixture_is_that_of_scikit_learn(fit: str) -> None:
    z = two_clouds()
    mixture, note = fit_mixture(z, settings(mixture_fit=fit, mixture="min"), seed=3)
    expected = reference(z, fit, seed=3)
    np.testing.assert_allclose(mixture.weights, expected.weights_, rtol=1e-12)
    np.testing.assert_allclose(mixture.means, expected.means_, rtol=1e-12)
    np.testing.assert_allclose(mixture.covariances, expected.covariances_, rtol=1e-12)
    np.testing.assert_array_equal(mixture.member, expected.predict(z))
    assert note == ""


@pytest.mark.parametrize("fit", ["em", "bayes"])
def test_the_moments_are_those_of_the_formula(fit: str) -> None:
    z, wanted = two_clouds(), settings(mixture_fit=fit, n_components=3)
    g = reference(z, fit, 3)
    mu = sum(w * m for w, m in zip(g.weights_, g.means_, strict=True))
    sigma = sum(
        w * (c + np.outer(m - mu, m - mu))
        for w, m, c in zip(g.weights_, g.means_, g.covariances_, strict=True)
    )
    gaussian = fitted(z, wanted)
    assert gaussian.n_components == 1
    np.testing.assert_allclose(gaussian.mean.numpy(), mu, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.inv(gaussian.precision.numpy()), sigma, rtol=1e-9)


def test_expectation_maximisation_keeps_the_moments_of_the_data() -> None:
    z = two_clouds()
    several, one = fitted(z, settings()), fitted(z, settings(n_components=1))
    np.testing.assert_allclose(several.mean.numpy(), one.mean.numpy(), rtol=1e-9)
    np.testing.assert_allclose(several.precision.numpy(), one.precision.numpy(), rtol=1e-6)


def test_one_component_of_variational_bayes_is_scikit_learns_too() -> None:
    z = two_clouds()
    gaussian = fitted(z, settings(mixture_fit="bayes", n_components=1))
    np.testing.assert_allclose(gaussian.precision.numpy(), reference(z, "bayes", 1).precisions_[0], rtol=1e-6)


def each_distance(z: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    g = reference(z)
    return np.array(
        [[mahalanobis(x, m, p) for m, p in zip(g.means_, g.precisions_, strict=True)] for x in others]
    )


def test_the_smallest_distance_is_to_the_nearest_component() -> None:
    z, others = two_clouds(), two_clouds(12, seed=1)
    d = fitted(z, settings(mixture="min")).distance(torch.from_numpy(others))
    np.testing.assert_allclose(d.numpy(), each_distance(z, others).min(axis=1), rtol=1e-9)


def test_responsibilities_weigh_the_distances() -> None:
    z = two_clouds()
    others = np.linspace(0, 20, 15)[:, None] * np.ones(3)  # from one cloud into the other
    g = reference(z)
    r = g.predict_proba(others)
    density = [
        w * multivariate_normal(m, c).pdf(others)
        for w, m, c in zip(g.weights_, g.means_, g.covariances_, strict=True)
    ]
    np.testing.assert_allclose(r, np.transpose(density) / np.sum(density, axis=0)[:, None], rtol=1e-6)
    d = fitted(z, settings(mixture="responsibility")).distance(torch.from_numpy(others))
    np.testing.assert_allclose(d.numpy(), (r * each_distance(z, others)).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("mixture", ["min", "responsibility"])
def test_views_are_averaged_batches_equal_single_cells_and_nan_stays_nan(mixture: str) -> None:
    gaussian = fitted(two_clouds(), settings(mixture=mixture))
    z = torch.from_numpy(two_clouds(24, seed=2)).reshape(6, 4, 3)
    z[2, 1, 0] = torch.nan
    d = gaussian.distance(z)
    assert d.isnan().tolist() == [False, False, True, False, False, False]
    each = torch.stack([gaussian.distance(view) for view in z.unbind(1)]).mean(0)
    torch.testing.assert_close(d, each, equal_nan=True)
    single = torch.cat([gaussian.distance(cell[None]) for cell in z])
    torch.testing.assert_close(d, single, equal_nan=True)


def test_few_cells_of_a_component_are_shrunk_by_its_own_rule() -> None:
    z = two_clouds(60)
    gaussian = LatentGaussian(3)
    note = gaussian.fit(z, settings(mixture="min", shrinkage="auto"))
    assert "20 control cells for 3 dimensions" in note
    shares = [ledoit_wolf(part)[1] for part in (z[:40], z[40:])]
    assert float(gaussian.shrinkage) == pytest.approx(max(shares))


def test_roundness_holds_for_every_component() -> None:
    z, others = two_clouds(), two_clouds(6, seed=1)
    g = reference(z)
    gaussian = fitted(z, settings(mixture="min", roundness=1.0))
    length = np.linalg.norm(others[:, None] - g.means_, axis=2)
    scale = np.sqrt(np.trace(g.covariances_, axis1=1, axis2=2) / 3)
    expected = (length / scale).min(axis=1)
    np.testing.assert_allclose(gaussian.distance(torch.from_numpy(others)).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("mixture", ["moment", "min", "responsibility"])
@pytest.mark.parametrize("before", [1, 3])
def test_the_buffers_alone_reproduce_the_distances(mixture: str, before: int) -> None:
    z, others = two_clouds(), torch.from_numpy(two_clouds(9, seed=3))
    gaussian = fitted(z, settings(mixture=mixture))
    other = fitted(z, settings(mixture="responsibility", n_components=before))
    other.load_state_dict(gaussian.state_dict())
    torch.testing.assert_close(other.distance(others), gaussian.distance(others), rtol=0, atol=0)
    assert ("weights" in gaussian.state_dict()) == (mixture == "responsibility")


def test_one_gaussian_is_stored_as_it_always_was() -> None:
    shapes = {
        name: tuple(value.shape)
        for name, value in fitted(two_clouds(), settings(n_components=1)).state_dict().items()
    }
    assert shapes == {"mean": (3,), "factor": (3, 3), "fitted": (), "n_cells": (), "shrinkage": ()}


def test_another_length_of_embedding_is_refused_when_loading() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for mean"):
        LatentGaussian(4).load_state_dict(fitted(two_clouds(), settings()).state_dict())


def test_idle_components_of_variational_bayes_are_dropped() -> None:
    gaussian = fitted(two_clouds(), settings(mixture_fit="bayes", n_components=10, mixture="min"))
    assert gaussian.n_components < 10


def test_cross_fitting_leaves_patients_out_of_every_component() -> None:
    z, wanted = two_clouds(), settings(mixture="min")
    patients = ["a" if i % 2 else "b" for i in range(len(z))]
    inside = torch.tensor([patient == "a" for patient in patients])
    found = cross_fit(torch.from_numpy(z), parts_of_patients(patients), wanted, seed=5)
    for part in (inside, ~inside):
        expected = fitted(z[~part.numpy()], wanted, 5).distance(torch.from_numpy(z)[part])
        torch.testing.assert_close(found[part], expected)


def test_gradients_flow_through_the_distance_only_on_request() -> None:
    gaussian = fitted(two_clouds(), settings(mixture="responsibility"))
    z = torch.from_numpy(two_clouds(6)).requires_grad_()
    assert not gaussian.distance(z).requires_grad
    gaussian.distance(z, differentiable=True).sum().backward()
    assert z.grad is not None
    assert (z.grad.norm(dim=1) > 0).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(AmilError, match="4 control cells cannot fill a mixture of 5"):
        fitted(two_clouds(6)[:4], settings(n_components=5))


def test_a_fit_that_did_not_settle_is_said_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_amil.core.anomaly.gaussian.mixture.MAX_ITERATIONS", 1)
    _, note = fit_mixture(two_clouds(), settings(), 0)
    assert note == "The mixture of 2 Gaussians did not settle in 1 iterations; fewer may do."
