"""The distance d_n that weighs cells in the pooling of a bag, where other scores have a part in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from napari_amil.core.anomaly.channels import LATENT, SCORERS, channel_weights, column_of
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats

Scores = Mapping[str, Floats]


class PooledDistance(nn.Module):
    """Joint distance of the scores that ``model.pooled`` names, on the scale of the distance to the Gaussian.

    Parameters
    ----------
    settings
        Settings of the model.

    Raises
    ------
    SettingsError
        If the measurements alone are named, and count nothing.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.others = pooled_names(settings)
        """Names of the scores beside the distance to the Gaussian, which may count nothing."""
        names = (LATENT, *self.others)
        shares = channel_weights(settings.pooled, settings.morphology_weight)
        if not sum(shares):
            raise SettingsError(
                "model.pooled names the measurements alone, and model.morphology_weight is 0; raise it."
            )
        share = dict(zip(settings.pooled, shares, strict=True))
        weights = torch.tensor([share.get(name, 0.0) for name in names]) / sum(shares)
        networks = torch.tensor([SCORERS[name].reads != "measurements" for name in names])
        start = torch.zeros(len(names)), torch.ones(len(names))
        self.joint = JointDistance(*start, weights, networks & (weights > 0))

    @classmethod
    def wanted(cls, settings: ModelSettings) -> Self | None:
        """Return the unfitted object; None where the Gaussian alone makes d_n."""
        return cls(settings) if pooled_names(settings) else None

    def fit(self, distance: Tensor, scores: Scores) -> None:
        """Refer to held-out control cells: distances to the Gaussian ``(n_control,)`` and other scores."""
        held_out = [distance.cpu().double().numpy(), *(scores[name] for name in self.others)]
        known = self.joint
        self.joint = JointDistance.fit(held_out, known.weights.tolist(), known.alone.tolist())

    def forward(self, distance: Tensor, scores: Scores) -> Tensor:
        """Return ``d_n (n_cells,)`` from distances to the Gaussian and the other scores of the same cells.

        A score that is not known counts as that of a median control cell.
        """
        given = [distance.detach().cpu().double().numpy(), *(scores[name] for name in self.others)]
        return torch.from_numpy(self.joint.distance(given)).to(distance)


def distance_in(table: Mapping[str, Any], pooled: PooledDistance | None) -> Tensor:
    """Return ``d_n (n_cells,)`` from the columns of scored cells."""
    distance = torch.from_numpy(np.array(table[LATENT], dtype=np.float32))
    if pooled is None:
        return distance
    scores = {name: np.array(table[column_of(name)], dtype=np.float64) for name in pooled.others}
    found: Tensor = pooled(distance, scores)
    return found


def distance_columns(pooled: PooledDistance | None) -> tuple[str, ...]:
    """Return the columns of scored cells of which `distance_in` makes d_n."""
    return (LATENT, *(column_of(name) for name in (() if pooled is None else pooled.others)))


def pooled_names(settings: ModelSettings) -> tuple[str, ...]:
    """Return the scores that have a part in d_n beside the distance to the Gaussian."""
    return tuple(name for name in settings.pooled if name != LATENT)
