"""Refits of the control Gaussian to patients drawn with replacement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.mixture import REGULARISATION
from napari_amil.core.anomaly.patients import N_REFITS, ControlWeights, drawn_patients, patient_codes
from napari_amil.core.base.settings import ModelSettings

_IN_MEMORY = 25_000_000  # numbers of all refits at once


class ControlMoments(nn.Module):
    """Sums over the control cells of each patient, from which the Gaussian of any draw of them follows.

    They are ``n_k``, ``sum z`` and ``sum z z^T`` of patient k, measured from the Gaussian's own mean, with
    the weights of the cells in the covariance, and the first two with those in the mean.
    When patients are drawn with replacement, the k-th ``c_k`` times, the mean is
    ``sum_k c_k sum z / sum_k c_k n_k``, and the covariance around it follows likewise, without a look at a
    cell. A draw without any cell of the reference keeps the mean. Shrinkage and roundness stay those of the
    Gaussian.

    Parameters
    ----------
    n_patients, latent_dim
        Number of control patients, and length k of an embedding.
    """

    count: Tensor
    total: Tensor
    square: Tensor
    mean_count: Tensor
    mean_total: Tensor

    def __init__(self, n_patients: int, latent_dim: int) -> None:
        super().__init__()
        n_pairs = latent_dim * (latent_dim + 1) // 2  # of the upper triangle
        self.register_buffer("count", torch.zeros(n_patients, dtype=torch.float64))
        self.register_buffer("total", torch.zeros(n_patients, latent_dim, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(n_patients, n_pairs, dtype=torch.float64))
        self.register_buffer("mean_count", torch.zeros(n_patients, dtype=torch.float64))
        self.register_buffer("mean_total", torch.zeros(n_patients, latent_dim, dtype=torch.float64))
        self._refits: tuple[Tensor, Tensor] | None = None

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> ControlMoments:
        """Return the moments that a ``state_dict`` describes; older ones weigh mean and covariance alike."""
        moments = cls(*state["total"].shape)
        older = {"mean_count": state["count"], "mean_total": state["total"]}
        moments.load_state_dict(older | dict(state))
        return moments

    @classmethod
    def from_controls(
        cls,
        latents: Tensor,
        patients: Sequence[str] | NDArray[Any],
        gaussian: LatentGaussian,
        weights: ControlWeights | None = None,
    ) -> ControlMoments | None:
        """Return the moments of control cells; None where they do not determine the distance.

        That is so with a single patient, and for the distance to several Gaussians.

        Parameters
        ----------
        latents
            ``(n, k)`` or ``(n, n_views, k)`` embeddings to which ``gaussian`` was fitted.
        patients
            ``(n,)`` patient of each cell.
        weights
            Those to which ``gaussian`` was fitted.
        """
        codes = torch.from_numpy(patient_codes(patients))
        n_patients, k = int(codes.max()) + 1, gaussian.latent_dim
        if n_patients < 2 or gaussian.n_components > 1:
            return None
        moments = cls(n_patients, k)
        upper = torch.triu_indices(k, k)
        n_views = latents[:1].numel() // k
        alike = np.ones(len(latents))
        of_cells = (alike, alike) if weights is None else (weights.covariance, weights.mean)
        spread, middle = (torch.from_numpy(w).repeat_interleave(n_views) for w in of_cells)
        codes = codes.repeat_interleave(n_views)
        rows = latents.cpu().double().reshape(-1, k) - gaussian.mean.cpu()
        for code in range(n_patients):
            own = codes == code
            z, w, v = rows[own], spread[own, None], middle[own, None]
            moments.count[code], moments.total[code] = w.sum(), (w * z).sum(dim=0)
            moments.mean_count[code], moments.mean_total[code] = v.sum(), (v * z).sum(dim=0)
            moments.square[code] = (z.T @ (w * z))[upper[0], upper[1]]
        return moments

    def distances(self, z: Tensor, gaussian: LatentGaussian, settings: ModelSettings) -> Tensor:
        """Return the distances of ``z`` to the Gaussian of each draw of patients, ``(N_REFITS, n)``.

        Parameters
        ----------
        z
            ``(n, k)`` or ``(n, n_views, k)`` embeddings; NaN rows give NaN.
        gaussian
            The Gaussian of all patients.
        settings
            Its roundness.
        """
        if self._refits is None:
            self._refits = self._fitted(gaussian, settings)
        means, factors = self._refits
        if not len(z):
            return torch.empty(len(means), 0)
        offset = torch.einsum("rk,rkl->rl", means, factors)[:, None]  # mu^T L (r, 1, k)
        distances = []
        for part in z.split(max(1, _IN_MEMORY // (len(means) * z[0].numel()))):
            rows = part.float().cpu() - gaussian.mean.float().cpu()
            whitened = torch.matmul(rows.reshape(1, -1, rows.shape[-1]), factors) - offset
            d = torch.linalg.vector_norm(whitened, dim=-1).reshape(len(means), len(part), -1)
            distances.append(d.mean(dim=-1))
        return torch.cat(distances, dim=1)

    def _fitted(self, gaussian: LatentGaussian, settings: ModelSettings) -> tuple[Tensor, Tensor]:
        """Return means ``(r, k)``, from the mean of all, and factors ``(r, k, k)`` of the refits."""
        n_patients, k = self.total.shape
        drawn = [draw.bincount(minlength=n_patients) for draw in drawn_patients(n_patients)]
        times = torch.stack(drawn).double()  # c (r, n_patients)
        n = times @ self.mean_count
        means = times @ self.mean_total / torch.where(n > 0, n, 1.0)[:, None]  # 0 is the mean of all
        n = times @ self.count
        times = times / torch.where(n > 0, n, 1.0)[:, None]
        middles = times @ self.total
        upper = torch.triu_indices(k, k)
        covariance = torch.empty(N_REFITS, k, k, dtype=torch.float64)
        covariance[:, upper[0], upper[1]] = covariance[:, upper[1], upper[0]] = times @ self.square
        for one, other in ((means, middles), (middles, means)):
            covariance -= one[:, :, None] * other[:, None, :]
        covariance += means[:, :, None] * means[:, None, :]
        eye = torch.eye(k, dtype=torch.float64)
        covariance += REGULARISATION * eye
        for share in (gaussian.shrinkage.cpu(), torch.tensor(settings.roundness)):
            sphere = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] * eye
            covariance = (1.0 - share) * covariance + share * sphere
        inverse = torch.linalg.inv(torch.linalg.cholesky(covariance))
        return means.float(), inverse.mT.contiguous().float()
