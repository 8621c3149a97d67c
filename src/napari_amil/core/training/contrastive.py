"""Self-supervised training of an encoder of crops: two views of a cell agree, and differ from other cells."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from pydantic import Field
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.network_settings import NetworkSettings
from napari_amil.core.anomaly.reconstruction.network_training import Batch, NetworkTraining, epochs_of
from napari_amil.core.encoders.crop import CropEncoder
from napari_amil.core.training.augment import augment_crops

NAME = "pretrain"
"""Name of the training in its events."""


class ContrastiveSettings(NetworkSettings):
    """Size and schedule of a training without labels; both views are made by `augment_crops`."""

    width: int = Field(24, ge=4, le=256)
    """Channels of the encoder at its first resolution."""
    scales: int = Field(2, ge=1, le=2)
    """1 for the features of the last resolution alone, 2 for both."""
    colour: bool = False
    """Look at red, green and blue; else at their mean optical density alone."""
    temperature: float = Field(0.2, gt=0, le=10)
    """Divides the cosine of two views; small values push the most alike cells apart."""
    projection_dim: int = Field(64, ge=2, le=4096)
    """Length of the projections that are compared; their layer is dropped after the training."""
    batch_size: int = Field(128, ge=2, le=4096)
    """Cells in one optimiser step; each is compared with all others."""
    epochs: int = Field(200, ge=1)
    """Most passes over the cells."""
    turn_deg: float = Field(0.0, ge=0, le=180)
    """No view before the two."""
    shift: float = Field(0.0, ge=0, le=0.5)
    """No view before the two."""
    zoom: float = Field(0.0, ge=0, lt=1)
    """No view before the two."""
    mirror: bool = False
    """No view before the two."""


class ContrastiveTraining(NetworkTraining):
    """Normalised cross-entropy of pairs (SimCLR; Chen et al., ICML 2020), on cells in place of photographs.

    With ``z_i, z_j`` the two views of a cell among ``2 n`` views, and ``s`` their cosine,
    ``L_i = -log(exp(s_ij / T) / sum_(k != i) exp(s_ik / T))``. The step size follows half a cosine to 0.

    Parameters
    ----------
    crops
        ``(n_cells, 3, size, size)`` uint8, on the CPU: all cells of the training.
    """

    settings: ContrastiveSettings

    def __init__(self, settings: ContrastiveSettings, crops: Tensor) -> None:
        super().__init__(settings)
        self.crops = crops
        self.net = feature_encoder(settings)
        n_features = 2 * 2 * settings.width * (3 if settings.scales == 2 else 2)
        self.head = nn.Sequential(
            nn.Linear(n_features, n_features),
            nn.ReLU(inplace=True),
            nn.Linear(n_features, settings.projection_dim),
        )
        parameters = [*self.net.parameters(), *self.head.parameters()]
        self.optimisers["net"] = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=1e-4)
        self.n_steps = epochs_of(settings, len(crops)) * max(1, len(crops) // settings.batch_size)

    def latent(self, x: Tensor) -> Tensor:
        """Return the features ``(n, d)`` of crops 0 to 1."""
        return self.net(x)

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Take one step; ``agreement`` is the share of views whose most alike view is that of their cell."""
        for group in self.optimisers["net"].param_groups:
            group["lr"] = self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * number / self.n_steps))
        crops = self.crops[batch.rows].to(batch.x.device)
        views = torch.cat([augment_crops(crops, batch.generator) for _ in range(2)])
        similarity = cosines(self.head(self.net(views)))
        loss = pair_loss(similarity / self.settings.temperature)
        self.descend("net", loss)
        found = similarity.detach().argmax(dim=1) == partners(len(views), views.device)
        return {"loss": loss.detach(), "agreement": found.float().mean()}


def feature_encoder(settings: ContrastiveSettings) -> CropEncoder:
    """Return an encoder whose output is its pooled features, without a projection."""
    encoder = CropEncoder(2, settings.width, 0.0, settings.scales, colour=settings.colour)
    encoder.project = nn.Sequential()
    return encoder


def cosines(z: Tensor) -> Tensor:
    """Return the cosine of each pair of rows ``(m, m)``; that of a row with itself is minus infinity."""
    unit = F.normalize(z, dim=1)
    return (unit @ unit.T).fill_diagonal_(-torch.inf)


def partners(n_views: int, device: torch.device) -> Tensor:
    """Return the row of the other view of each of ``n_views`` views, of which the second half are second."""
    return torch.arange(n_views, device=device).roll(n_views // 2)


def pair_loss(logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of finding the other view of a cell."""
    return F.cross_entropy(logits, partners(len(logits), logits.device))
