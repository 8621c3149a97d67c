"""Mixtures of Gaussians fitted to the embeddings of control cells."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats

REGULARISATION = 1e-6
"""Added to every variance, as scikit-learn's GaussianMixture does."""
MAX_ITERATIONS = 100
"""Most iterations of a fit (Kazeminia et al. 2022, section 2.2)."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of Gaussians with its weights, and the component of each row.

    Parameters
    ----------
    weights
        ``g_i (n_components,)``, sum to 1.
    means
        ``mu_i (n_components, k)``
    covariances
        ``Sigma_i (n_components, k, k)``
    member
        ``(n_rows,)`` the component under which each row is most probable.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    member: NDArray[np.int64]

    def moments(self) -> Mixture:
        """Return the one Gaussian with the mean and covariance of the mixture (eq. 3).

        ``mu = sum_i g_i mu_i``, ``Sigma = sum_i g_i (Sigma_i + (mu_i - mu)(mu_i - mu)^T)``. Expectation
        maximisation keeps mean and covariance of the data, so there this is the Gaussian of one
        component; the priors of variational Bayes move it.
        """
        mean = self.weights @ self.means  # (k,)
        apart = self.means - mean
        between = np.einsum("i,ij,ik->jk", self.weights, apart, apart)
        covariance = np.einsum("i,ijk->jk", self.weights, self.covariances) + between
        return Mixture(np.ones(1), mean[None], covariance[None], np.zeros_like(self.member))

    def inhabited(self) -> Mixture:
        """Return the mixture without components that no row belongs to."""
        kept, member = np.unique(self.member, return_inverse=True)
        weights = self.weights[kept] / self.weights[kept].sum()
        return Mixture(weights, self.means[kept], self.covariances[kept], member)

    def shrinkage(self, z: Floats) -> Floats:
        """Return Ledoit and Wolf's shrinkage, 0 to 1, ``(n_components,)``, from the rows of each."""
        parts = [z[self.member == i] for i in range(len(self.weights))]
        return np.array([ledoit_wolf_shrinkage(part) if len(part) > 1 else 1.0 for part in parts])

    def shrunk(self, share: Floats | float) -> Mixture:
        """Return the mixture with a share of every covariance replaced by a sphere of its mean variance."""
        k = self.covariances.shape[-1]
        share = np.reshape(share, (-1, 1, 1))
        spheres = np.trace(self.covariances, axis1=1, axis2=2)[:, None, None] / k * np.eye(k)
        return replace(self, covariances=(1.0 - share) * self.covariances + share * spheres)


def fit_mixture(
    z: Floats, settings: ModelSettings, seed: int, weights: ControlWeights | None = None
) -> tuple[Mixture, str]:
    """Return the mixture of the settings fitted to rows ``(n, k)``, and a warning, empty without one.

    One component under ``mixture_fit="em"`` has the closed form to which expectation maximisation
    converges: the mean, and the covariance plus `REGULARISATION`. With ``weights`` of the rows it is the
    weighted mean and the weighted covariance around it; other mixtures take no weights.

    Raises
    ------
    AmilError
        If there are fewer rows than components, or a component cannot be estimated.
    """
    n = settings.n_components
    if has_closed_form(settings):
        return _closed_form(z, weights), ""
    if len(z) < n:
        raise AmilError(f"{len(z)} control cells cannot fill a mixture of {n}; lower model.n_components.")
    kind = GaussianMixture if settings.mixture_fit == "em" else BayesianGaussianMixture
    model = kind(
        n_components=n,
        reg_covar=REGULARISATION,
        max_iter=MAX_ITERATIONS,
        init_params="random",
        random_state=seed % 2**32,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            member = model.fit_predict(z)
    except ValueError as error:
        raise AmilError(
            f"A mixture of {n} Gaussians does not fit {len(z)} control cells; lower model.n_components."
        ) from error
    fitted = Mixture(model.weights_, model.means_, model.covariances_, member.astype(np.int64))
    note = f"The mixture of {n} Gaussians did not settle in {MAX_ITERATIONS} iterations; fewer may do."
    wanted = fitted.moments() if settings.mixture == "moment" else fitted.inhabited()
    return wanted, "" if model.converged_ else note


def has_closed_form(settings: ModelSettings) -> bool:
    """Return True if one Gaussian is fitted by its moments, without iterations."""
    return settings.n_components == 1 and settings.mixture_fit == "em"


def _closed_form(z: Floats, weights: ControlWeights | None) -> Mixture:
    """Return the mixture of one."""
    mean = z.mean(axis=0) if weights is None else weights.mean @ z
    centred = z - mean
    weighted = centred / len(z) if weights is None else centred * weights.covariance[:, None]
    covariance = centred.T @ weighted + REGULARISATION * np.eye(z.shape[1])
    return Mixture(np.ones(1), mean[None], covariance[None], np.zeros(len(z), dtype=np.int64))
