"""Novelty of a bag: its distance to the nearest known class, and the verdict on the bag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.gaussian.mixture import REGULARISATION
from napari_amil.core.base.settings import VerdictSettings
from napari_amil.core.base.types import ABSTAIN, UNSEEN, Floats

EmbeddedBags = tuple[Tensor, Tensor, Tensor]
"""Embeddings ``(n_cells, n_views, k)`` and distances ``(n_cells,)`` by bag, and lengths ``(n_bags,)``."""
TOP_SHARE = 0.2
"""Share of the cells of a bag, the most anomalous ones, whose mean represents it."""

_LEAST_BETWEEN = 0.1
"""Least share of the variance of bags that their number of cells does not explain."""


class BagNovelty(nn.Module):
    """Distance of a bag to the nearest of the known classes, the control class among them.

    A bag is represented by the mean embedding of its most anomalous cells: ``x`` is the mean of
    ``(z_n - m) / s`` over the M cells, a fifth of the bag, with the largest ``d_n``, with mean ``m`` and
    deviation ``s`` of control cells. Its novelty is

        ``min_c sqrt((x - x_c)^T (B + W / M)^-1 (x - x_c))``

    with the class means ``x_c``, the covariance ``B`` of bags within their classes that the number of
    cells does not explain, and the covariance ``W`` of such cells within their bags (Lee et al. 2018,
    eq. 2, for bags of any size). Both are shrunk by Ledoit and Wolf's rule. So a bag of few cells is
    expected farther from its class than one of many. The p-value ranks the novelty among bags of known
    classes that were held out with their patients.

    ``F`` holds the generalised eigenvectors of both, ``F^T W F = 1`` and ``F^T B F = diag(b)``.

    Parameters
    ----------
    n_classes, latent_dim
        Number of classes, and length k of an embedding.
    calibration
        Novelty of held-out bags; None where there are none.
    """

    origin: Tensor
    unit: Tensor
    means: Tensor
    factor: Tensor
    between: Tensor
    within: Tensor
    known: Tensor

    def __init__(self, n_classes: int, latent_dim: int, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(latent_dim, dtype=torch.float64))  # m (k,)
        self.register_buffer("unit", torch.tensor(1.0, dtype=torch.float64))  # s
        self.register_buffer("means", torch.zeros(n_classes, latent_dim, dtype=torch.float64))  # x_c
        self.register_buffer("factor", torch.eye(latent_dim, dtype=torch.float64))  # F (k, k)
        self.register_buffer("between", torch.ones(latent_dim, dtype=torch.float64))  # b (k,)
        self.register_buffer("within", torch.tensor(0.0, dtype=torch.float64))  # F^T W F: 1, or 0 if unknown
        self.register_buffer("known", torch.zeros(n_classes, dtype=torch.bool))  # classes that had a bag
        self.calibration = calibration

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> BagNovelty:
        """Return the novelty that a ``state_dict`` describes; older ones know no ``b`` and ``W``."""
        prefix = "calibration."
        ranks = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
        novelty = cls(*state["means"].shape)
        own = {name: v for name, v in state.items() if not name.startswith(prefix)}
        novelty.load_state_dict(novelty.state_dict() | own)
        novelty.calibration = Calibration.from_state(ranks) if ranks else None
        return novelty

    def set_controls(self, controls: Tensor) -> None:
        """Take origin and unit from the embeddings of control cells, ``(n, k)`` or ``(n, n_views, k)``."""
        z = _plain(controls)
        self.origin.copy_(z.mean(dim=0))
        self.unit.copy_(z.var(dim=0, correction=0).mean().sqrt().clamp_min(1e-12))

    def fit(self, latents: Tensor, distances: Tensor, lengths: Tensor, labels: Tensor) -> None:
        """Fit class means and covariance to bags of known classes; `set_controls` comes first.

        Parameters
        ----------
        latents, distances
            ``(n_cells, k)`` or ``(n_cells, n_views, k)``, and ``d_n (n_cells,)``, bag after bag.
        lengths, labels
            ``(n_bags,)`` cells of each bag, and number of its class. A class without a bag is never the
            nearest.
        """
        top = self._top_cells(latents, distances, lengths)
        x = torch.stack([own.mean(dim=0) for own in top])  # (n_bags, k)
        self.means.zero_()
        self.known.fill_(False)
        for label in labels.unique():
            self.means[label] = x[labels == label].mean(dim=0)
            self.known[label] = True
        total = _covariance(x - self.means[labels])  # B + W / M on average
        apart = torch.cat([own - own.mean(dim=0) for own in top])
        freedom = len(apart) - len(top)
        cells = _covariance(apart) * len(apart) / freedom if freedom else total  # W
        variance, factor = eigh(total, cells)
        explained = np.mean([1.0 / len(own) for own in top]) if freedom else 0.0
        self.factor.copy_(torch.from_numpy(factor))
        self.between.copy_(torch.from_numpy(np.maximum(variance - explained, _LEAST_BETWEEN * variance)))
        self.within.fill_(float(freedom > 0))

    def score(self, latents: Tensor, distances: Tensor, lengths: Tensor) -> Tensor:
        """Return the novelty ``(n_bags,)`` of bags whose cells come one bag after the other."""
        top = self._top_cells(latents, distances, lengths)
        x = torch.stack([own.mean(dim=0) for own in top])
        n_cells = torch.tensor([len(own) for own in top], dtype=torch.float64)
        deviation = (self.between + self.within / n_cells[:, None]).sqrt()  # (n_bags, k)
        apart = (x[:, None] - self.means[self.known]) @ self.factor  # (n_bags, n_classes, k)
        return torch.linalg.vector_norm(apart / deviation[:, None], dim=2).amin(dim=1)

    def add_bags(self, bags: EmbeddedBags, patients: Sequence[str]) -> None:
        """Add bags of new patients to the held-out bags among which novelty is ranked, if there are any."""
        old = self.calibration
        if old is None or old.patients is None:
            return
        names = [f"before {code}" for code in old.patients.tolist()] + list(patients)
        self.calibration = Calibration(torch.cat([old.distances, self.score(*bags)]), names)

    def p_value(self, latents: Tensor, distances: Tensor, lengths: Tensor) -> Floats:
        """Return the probability of at least this novelty in a new patient of the known classes."""
        if self.calibration is None:
            return np.full(len(lengths), np.nan)
        return self.calibration.p_value(self.score(latents, distances, lengths))

    def _top_cells(self, latents: Tensor, distances: Tensor, lengths: Tensor) -> list[Tensor]:
        """Return ``(z_n - m) / s`` of the most anomalous cells of each bag, ``(M, k)``."""
        z = (_plain(latents) - self.origin) / self.unit
        bags = zip(z.split(lengths.tolist()), distances.cpu().split(lengths.tolist()), strict=True)
        return [own[d.topk(top_count(len(d))).indices] for own, d in bags]


def _covariance(apart: Tensor) -> Floats:
    """Return the shrunk covariance ``(k, k)`` of rows whose mean is 0."""
    found = ledoit_wolf(apart.numpy(), assume_centered=True)[0]
    return np.asarray(found + REGULARISATION * np.eye(len(found)))


def verdict(
    probability: Mapping[str, float], n_cells: int, novelty_p: float, settings: VerdictSettings
) -> str:
    """Return the verdict on a bag: a class, ``unlike anything seen``, or ``abstain``.

    Without a novelty p-value (NaN) it is the most probable class, whatever the settings. Where a
    probability is not finite it is ``abstain``.
    """
    if not np.isfinite(list(probability.values())).all():
        return ABSTAIN
    predicted = max(probability, key=lambda name: probability[name])
    if np.isnan(novelty_p):
        return predicted
    if n_cells < settings.min_cells:
        return ABSTAIN
    if novelty_p < settings.novelty:
        return UNSEEN
    return predicted if probability[predicted] >= settings.min_probability else ABSTAIN


def top_count(n_cells: int) -> int:
    """Return the number of the most anomalous cells whose mean represents a bag."""
    return max(1, round(TOP_SHARE * n_cells))


def _plain(latents: Tensor) -> Tensor:
    """Return ``(n, k)`` float64 on the CPU, views averaged."""
    z = latents.detach().cpu().double()
    return z if z.ndim == 2 else z.mean(dim=1)
