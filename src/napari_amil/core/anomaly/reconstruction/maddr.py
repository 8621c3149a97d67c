"""Domain constraints (MADDR, Zhang et al., MICCAI 2023): one network for several stains or microscopes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.network_settings import NetworkSettings
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.events import Event, Warned

MISSING = -1


class DomainConstraint(nn.Module):
    """Classification of the domain from parts of the code, and closeness of the rest.

    The code of a cell (averaged over its places, if it has several) is split: each factor, such as the stain,
    has ``domain_dim`` numbers of its own, from which a linear layer tells its level; the rest, z_a, is drawn
    together. With n cells in a batch

        ``L = w_cls sum_f focal(head_f(z_f), y_f) + w_center mean_i |z_ai - mean_{j != i} z_aj|^2 / k``

    (Perera & Patel 2019), so that equal codes cost nothing. The focal loss has gamma 2 and weighs a level by
    its inverse frequency among the control cells; the published program weighs level 0 by 0.25 and all
    others by 0.75, trains no heads and gives both the same labels, which is not followed. Scores do not
    change: the decoder sees the whole code.

    None of this keeps a domain out of z_a: a linear probe still finds it there (docs/anomaly-models.md).

    Parameters
    ----------
    labels
        ``factor -> (n_cells,)`` level of each control cell, -1 where it is not known.
    n_levels
        Levels of each factor.
    code_dim
        Length of the code.
    """

    def __init__(
        self, labels: Mapping[str, NDArray[np.int64]], settings: NetworkSettings, code_dim: int
    ) -> None:
        super().__init__()
        self.settings, self.factors = settings, tuple(labels)
        taken = settings.domain_dim * len(labels)
        if taken >= code_dim:
            raise SettingsError(
                f"{len(labels)} domains take {taken} numbers of a code of {code_dim}, and none is left; set "
                "'latent_dim' higher or 'domain_dim' lower."
            )
        self.labels = {factor: torch.from_numpy(values) for factor, values in labels.items()}
        counts = {factor: np.bincount(values[values >= 0]) for factor, values in labels.items()}
        self.heads = nn.ModuleList(nn.Linear(settings.domain_dim, len(n)) for n in counts.values())
        for factor, n in counts.items():
            weight = n.sum() / (len(n) * np.maximum(n, 1))
            self.register_buffer(f"alpha_{factor}", torch.tensor(weight, dtype=torch.float32))

    def forward(self, z: Tensor, rows: Tensor, mixed: tuple[Tensor, float] | None = None) -> Tensor:
        """Return the loss of codes ``(n, k)`` or ``(n, k, h, w)``.

        Parameters
        ----------
        rows
            ``(n,)`` rows of the control cells.
        mixed
            Rows of the cells that were mixed into these, and the share of these.
        """
        code = z.flatten(2).mean(dim=2) if z.ndim > 2 else z
        share = 1.0 if mixed is None else mixed[1]
        loss = self.settings.domain_weight * share * self.classification(code, rows)
        if mixed is not None:
            loss = loss + self.settings.domain_weight * (1 - share) * self.classification(code, mixed[0])
        return loss + self.settings.center_weight * center_loss(code[:, self.n_taken :])

    @property
    def n_taken(self) -> int:
        """Numbers of the code that belong to the factors."""
        return self.settings.domain_dim * len(self.factors)

    def classification(self, code: Tensor, rows: Tensor) -> Tensor:
        """Return the sum of the focal losses of all factors; a cell without a label does not count."""
        total = code.new_zeros(())
        for factor, head, part in zip(
            self.factors,
            self.heads,
            code[:, : self.n_taken].split(self.settings.domain_dim, dim=1),
            strict=True,
        ):
            labels = self.labels[factor][rows].to(code.device)
            known = labels != MISSING
            if bool(known.any()):
                total = total + focal_loss(
                    head(part[known]), labels[known], self.get_buffer(f"alpha_{factor}"), 2.0
                )
        return total


def focal_loss(logits: Tensor, labels: Tensor, alpha: Tensor, gamma: float) -> Tensor:
    """Return ``mean alpha_y (1 - p_y)^gamma (-log p_y)`` (Lin et al. 2017)."""
    log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return (alpha[labels] * (1 - log_p.exp()) ** gamma * -log_p).mean()


def center_loss(z: Tensor) -> Tensor:
    """Return ``1 / (n k) sum_i |z_i - mean_{j != i} z_j|^2``; 0 for a single cell."""
    n = len(z)
    if n < 2:
        return z.new_zeros(())
    return (n / (n - 1)) ** 2 * (z - z.mean(dim=0)).square().mean()


def domain_labels(
    domains: Mapping[str, NDArray[Any]], wanted: tuple[str, ...]
) -> Generator[Event, None, dict[str, NDArray[np.int64]]]:
    """Return ``factor -> (n_cells,)`` levels as numbers; -1 where it is not known.

    A factor with fewer than two levels is dropped with a warning.

    Raises
    ------
    SettingsError
        If the cohort does not tell a factor.
    """
    found = {}
    for factor in wanted:
        if factor not in domains:
            known = ", ".join(sorted(domains)) or "none"
            raise SettingsError(
                f"The cohort does not tell the domain '{factor}' of its samples; it tells: {known}."
            )
        values = np.asarray(domains[factor], dtype=np.str_)
        names = np.unique(values[values != ""])
        if len(names) < 2:
            yield Warned(f"All control cells have the same '{factor}', so it is no domain to tell apart.")
            continue
        codes = np.searchsorted(names, values)
        found[factor] = np.where(values == "", MISSING, codes).astype(np.int64)
    return found
