"""Gaussian or mixture of control embeddings, and the Mahalanobis distance to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.gaussian.mixture import Mixture, fit_mixture, has_closed_form
from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats

CELLS_PER_DIMENSION = 10
"""Below this many control cells per dimension the sample covariance is not trusted."""
_ROWS_AT_ONCE = 1024


class LatentGaussian(nn.Module):
    """Gaussians fitted to the embeddings of control cells.

    ``d_n = sqrt((z_n - mu)^T Sigma^-1 (z_n - mu)) = ||L^T (z_n - mu)||`` with ``L L^T = Sigma^-1``
    (Kazeminia et al. 2022, eq. 3). Of several Gaussians it is the distance to

    * ``mixture="moment"``: the one Gaussian with their overall mean and covariance (the paper);
    * ``"min"``: the nearest, ``min_i d_in``;
    * ``"responsibility"``: all, ``sum_i r_in d_in`` with ``r_in`` the probability of component i.

    By default no gradient flows through ``d_n``. The buffers are float64, so on a device without
    float64 (MPS) leave the module on the CPU; `distance` takes embeddings from any device and
    answers there.

    The covariance may be made rounder (``settings.roundness``). An encoder that was trained to put
    control cells near a centre and others far from it (`napari_amil.core.mil.loss.hypersphere_loss`)
    has made the plain length of ``z_n - mu`` a measure of abnormality; a full whitening would weigh
    directions in which nothing varies, among control cells or others, as much as any other.

    Parameters
    ----------
    latent_dim
        Length k of an embedding.
    """

    # One Gaussian is kept as (k,) and (k, k), several have a first axis more.
    mean: Tensor
    factor: Tensor
    weights: Tensor | None
    fitted: Tensor
    n_cells: Tensor
    shrinkage: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim, dtype=torch.float64))  # mu (k,)
        self.register_buffer("factor", torch.eye(latent_dim, dtype=torch.float64))  # L (k, k)
        self.register_buffer("weights", None)  # g_i (n_components,), where the distance needs them
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("n_cells", torch.tensor(0))
        self.register_buffer("shrinkage", torch.tensor(0.0, dtype=torch.float64))

    @property
    def latent_dim(self) -> int:
        """Length k of an embedding."""
        return int(self.mean.shape[-1])

    @property
    def n_components(self) -> int:
        """Number of Gaussians that the distance looks at."""
        return 1 if self.mean.ndim == 1 else len(self.mean)

    @property
    def precision(self) -> Tensor:
        """``Sigma^-1``, ``(k, k)`` or ``(n_components, k, k)``."""
        return self.factor @ self.factor.mT

    def fit(
        self,
        latents: Tensor | NDArray[Any],
        settings: ModelSettings,
        seed: int = 0,
        weights: ControlWeights | None = None,
    ) -> str:
        """Fit mean and covariance to the embeddings of control cells, in float64.

        Parameters
        ----------
        latents
            ``(n, k)``, or ``(n, n_views, k)`` for several views of each cell.
        settings
            Components, and whether to shrink.
        seed
            Start of a mixture of several.
        weights
            Of the cells, which only one Gaussian heeds; None counts all alike. Other mixtures are fitted to
            the reference alone.

        Returns
        -------
        str
            A note for the user, empty if there is none.

        Raises
        ------
        AmilError
            If there are fewer than two cells or fewer than components, or an embedding is not finite.
        """
        if weights is not None and not has_closed_form(settings):
            latents, weights = torch.as_tensor(latents)[torch.from_numpy(weights.reference)], None
        z, n_cells = _rows(latents)
        if weights is not None:
            weights = weights.take(np.repeat(np.arange(n_cells), len(z) // n_cells))
        mixture, note = fit_mixture(z, settings, seed, weights)
        fewest = int(np.bincount(mixture.member).min()) * n_cells // len(z)
        few = settings.shrinkage == "auto" and fewest < CELLS_PER_DIMENSION * self.latent_dim
        shrink = few or settings.shrinkage == "ledoit-wolf"
        shrinkage = mixture.shrinkage(z) if shrink else np.zeros(len(mixture.weights))
        self._store(mixture.shrunk(shrinkage).shrunk(settings.roundness), settings)
        self.n_cells.fill_(n_cells)
        self.shrinkage.fill_(shrinkage.max())
        if few:
            note = (
                f"There are {fewest} control cells for {self.latent_dim} dimensions "
                f"(fewer than {CELLS_PER_DIMENSION} each): "
                f"the covariance is shrunk by Ledoit-Wolf ({shrinkage.max():.3f}). {note}"
            ).strip()
        return note

    def distance(self, z: Tensor, *, differentiable: bool = False) -> Tensor:
        """Return the Mahalanobis distances ``(n,)`` of embeddings ``(n, k)``; NaN rows give NaN.

        Of several views ``(n, n_views, k)`` of each cell the mean distance is returned.

        Parameters
        ----------
        differentiable
            Let gradients flow through ``d_n`` to ``z``.

        Raises
        ------
        AmilError
            Before the Gaussian was fitted.
        """
        if not bool(self.fitted):
            raise AmilError("The control Gaussian has not been fitted; train or calibrate the model first.")
        x = (z if differentiable else z.detach()).to(self.mean.device)
        k = self.latent_dim
        parts = zip(self.mean.reshape(-1, k), self.factor.reshape(-1, k, k), strict=True)
        each = torch.stack([_lengths(x, mu, factor) for mu, factor in parts])
        d = self._combined(each)  # (n,) or (n, n_views)
        return (d if d.ndim == 1 else d.mean(dim=1)).to(z.dtype).to(z.device)  # d_n (n,)

    def _combined(self, d: Tensor) -> Tensor:
        """Return the distance to the mixture from those to its components ``(n_components, ...)``."""
        if self.weights is None:
            return d.amin(dim=0)
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)  # -1/2 log |Sigma_i|
        prior = (self.weights.log() + log_det).reshape(-1, *[1] * (d.ndim - 1))
        return ((prior - d**2 / 2).softmax(dim=0) * d).sum(dim=0)  # sum_i r_in d_in

    def _store(self, mixture: Mixture, settings: ModelSettings) -> None:
        """Keep fitted values in buffers where these live."""
        inverse = np.linalg.inv(np.linalg.cholesky(mixture.covariances))  # C^-1 with Sigma = C C^T
        factor = np.ascontiguousarray(inverse.swapaxes(1, 2))  # Sigma^-1 = C^-T C^-1, so L = C^-T
        several = len(factor) > 1
        self.mean = torch.from_numpy(mixture.means if several else mixture.means[0]).to(self.mean)
        self.factor = torch.from_numpy(factor if several else factor[0]).to(self.factor)
        weighted = several and settings.mixture == "responsibility"
        self.weights = torch.from_numpy(mixture.weights).to(self.mean) if weighted else None
        self.fitted.fill_(True)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Make room for as many components as are stored, and load."""
        for name in ("mean", "factor", "weights"):
            stored = state_dict.get(prefix + name)
            if stored is None and name == "weights":
                self.weights = None
            elif stored is not None and (name == "weights" or stored.shape[-1] == self.latent_dim):
                setattr(self, name, self.mean.new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def cross_fit(
    latents: Tensor,
    part: NDArray[Any],
    settings: ModelSettings,
    seed: int = 0,
    weights: ControlWeights | None = None,
) -> Tensor:
    """Return the distances ``(n,)`` of control cells to Gaussians fitted without their part.

    Parameters
    ----------
    latents
        ``(n, k)`` or ``(n, n_views, k)`` embeddings of control cells.
    part
        ``(n,)`` of `napari_amil.core.anomaly.patients.parts_of_patients`.
    seed
        Start of a mixture of several Gaussians.
    weights
        Of the cells; None counts all alike.
    """
    held_out = torch.empty(len(latents), dtype=torch.float64)
    for number in np.unique(part):
        inside = torch.from_numpy(part == number)
        gaussian = LatentGaussian(latents.shape[-1])
        others = None if weights is None else weights.take(part != number)
        gaussian.fit(latents[~inside], settings, seed, others)
        held_out[inside] = gaussian.distance(latents[inside].cpu().double())
    return held_out


def _lengths(x: Tensor, mu: Tensor, factor: Tensor) -> Tensor:
    """Return ``||L^T (x - mu)||`` of ``x (..., k)``, as many rows at a time as a cache holds."""
    shift = -(mu @ factor)
    rows = x.reshape(-1, len(mu)).split(_ROWS_AT_ONCE)
    d = [torch.linalg.vector_norm(torch.addmm(shift, part.to(mu.dtype), factor), dim=1) for part in rows]
    return torch.cat(d).reshape(x.shape[:-1])


def _rows(latents: Tensor | NDArray[Any]) -> tuple[Floats, int]:
    """Return the embeddings of control cells, one view a row, and the number of cells; or refuse them."""
    views = torch.as_tensor(latents).detach().cpu().double().numpy()  # (n, k) or (n, n_views, k)
    if len(views) < 2:
        raise AmilError(
            "The control Gaussian needs at least 2 control cells, also while a control patient is left out, "
            f"not {len(views)}; add control bags."
        )
    if not np.isfinite(views).all():
        raise AmilError(
            "An embedding of a control cell is not finite; lower the learning rate and train again."
        )
    return views.reshape(-1, views.shape[-1]), len(views)
