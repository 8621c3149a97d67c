"""Encoder of named measurements: small networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from napari_amil.core.base.encoders import ENCODER_SPECS
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.base import Encoder

MAX_DEVIATIONS = 5.0
"""Measurements are clipped at this many control deviations."""
_LEAST_SPREAD = 1e-6


class MeasurementEncoder(Encoder):
    """Small networks side by side that embed the named measurements of a cell.

    Each starts from other weights, so that what they have in common is no accident. A measurement
    counts in deviations from that of control cells, at most 5; an unknown one counts as 0.

    Parameters
    ----------
    n_measurements
        Measurements of a cell.
    columns
        Length of the part of the embedding that each network gives.
    named
        Add the measurements themselves, in standard deviations, so that none can be mapped away.
    """

    spec = ENCODER_SPECS["measurements"]
    center: Tensor
    spread: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, n_measurements: int, columns: Sequence[int], *, named: bool = False) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_measurements))
        self.register_buffer("spread", torch.ones(n_measurements))
        self.networks = nn.ModuleList(_perceptron(n_measurements, k) for k in columns)
        self.named = named
        if named:
            self.register_buffer("mean", torch.zeros(n_measurements))
            self.register_buffer("deviation", torch.ones(n_measurements))

    @classmethod
    def from_settings(cls, settings: ModelSettings, n_inputs: int) -> Self:
        """Return one network that gives the whole embedding."""
        return cls(n_inputs, (settings.latent_dim,))

    def fit(self, measurements: Tensor) -> None:
        """Fit centre and spread to control cells ``(n, n_measurements)``.

        For the networks these are median and median absolute deviation, for the measurements
        themselves mean and standard deviation: of those that are 0 in most cells, as spicules are,
        the former says nothing.
        """
        center = measurements.nanmedian(dim=0).values
        deviation = (measurements - center).abs().nanmedian(dim=0).values
        self.center.copy_(center.nan_to_num())
        self.spread.copy_((1.4826 * deviation).nan_to_num().clamp_min(_LEAST_SPREAD))
        if self.named:
            mean = measurements.nanmean(dim=0)
            variance = (measurements - mean).square().nanmean(dim=0)
            self.mean.copy_(mean.nan_to_num())
            self.deviation.copy_(variance.sqrt().nan_to_num().clamp_min(_LEAST_SPREAD))

    def forward(self, measurements: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of measurements ``(n, n_measurements)``.

        Their length k is ``sum(columns)``, and ``n_measurements`` more where these are added.
        """
        x = _bounded((measurements - self.center) / self.spread)
        parts = [network(x) for network in self.networks]
        if self.named:
            parts.append(_bounded((measurements - self.mean) / self.deviation))
        return torch.cat(parts, dim=1)


def _bounded(deviation: Tensor) -> Tensor:
    """Return half of the deviations, with bounds and without gaps."""
    return deviation.nan_to_num(nan=0.0).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS) / 2


def _perceptron(n_in: int, n_out: int, width: int = 64, dropout: float = 0.1) -> nn.Sequential:
    """Return a network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(n_in, width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(width, n_out),
    )
