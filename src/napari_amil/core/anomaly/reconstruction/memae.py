"""The score ``memae``: autoencoder with a memory of prototypes (Gong et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from pydantic import Field
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.cell_images import CellImages
from napari_amil.core.anomaly.reconstruction.network_settings import CELL, CODE, NetworkSettings
from napari_amil.core.anomaly.reconstruction.network_training import Batch, NetworkTraining
from napari_amil.core.anomaly.reconstruction.scorer import Judged, ReconstructionScorer


class MemaeSettings(NetworkSettings):
    """Memory of the autoencoder; the code is as long as the last of the widths, at each of 4 x 4 places."""

    slots: int = Field(500, ge=2, le=100_000)
    """Items in the memory."""
    shrink: float = Field(1.0, ge=0)
    """Weights below this multiple of 1 / slots become 0; the published program has 5."""
    warm_up: int = Field(0, ge=0)
    """Optimiser steps before weights are shrunk."""
    similarity: Literal["dot", "cosine"] = "dot"
    """Similarity of code and item: dot product, as in the published program, or cosine, as in the paper."""
    temperature: float = Field(0.1, gt=0)
    """Divides the cosine; without it all weights are nearly the same, and shrinking leaves none."""
    entropy_weight: float = Field(2e-4, ge=0)
    """Weight of the entropy of the weights, which makes them sparse."""


class MemaeNet(nn.Module):
    """Convolutions with stride 2, memory, and the same backwards; inputs -1 to 1, linear output."""

    def __init__(self, settings: MemaeSettings) -> None:
        super().__init__()
        w, n_colours = settings.widths, settings.channels
        self.settings = settings
        down, up = list[nn.Module](), list[nn.Module]()
        for a, b in pairwise((n_colours, *w)):
            down += [nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        for a, b in pairwise(reversed(w)):
            up += [nn.ConvTranspose2d(a, b, 3, 2, 1, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        self.down = nn.Sequential(*down)
        self.up = nn.Sequential(*up, nn.ConvTranspose2d(w[0], n_colours, 3, 2, 1, 1))
        bound = w[-1] ** -0.5
        self.memory = nn.Parameter(torch.empty(settings.slots, w[-1]).uniform_(-bound, bound))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def address(self, z: Tensor, *, shrunk: bool) -> Tensor:
        """Return the weights ``(n, h, w, slots)`` of the items for codes ``(n, c, h, w)``; they sum to 1."""
        query = z.movedim(1, -1)
        if self.settings.similarity == "cosine":
            product = (
                F.normalize(query, dim=-1) @ F.normalize(self.memory, dim=1).T / self.settings.temperature
            )
        else:
            product = query @ self.memory.T
        w = product.softmax(dim=-1)
        return sparse(w, self.settings.shrink / self.settings.slots) if shrunk else w

    def recall(self, w: Tensor) -> Tensor:
        """Return codes ``(n, c, h, w)`` made of memory items."""
        return (w @ self.memory).movedim(-1, 1)


def sparse(w: Tensor, limit: float) -> Tensor:
    """Return weights without those below a limit: ``relu(w - l) w / (|w - l| + 1e-12)``, with sum 1.

    A row of which nothing would be left, for which the decoder would see zeros and nothing be learned, stays
    as it is.
    """
    hard = F.relu(w - limit) * w / ((w - limit).abs() + 1e-12)
    total = hard.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, hard / total.clamp_min(1e-12), w)


def entropy(w: Tensor) -> Tensor:
    """Return the mean entropy of weights ``(..., slots)``."""
    return -(w * (w + 1e-12).log()).sum(dim=-1).mean()


class MemaeTraining(NetworkTraining):
    """``MSE(x, x') + 2e-4 mean entropy(w)``, with the entropy of the shrunk weights."""

    settings: MemaeSettings

    def __init__(self, net: MemaeNet, settings: MemaeSettings) -> None:
        super().__init__(settings)
        self.net = net
        self.optimisers["net"] = torch.optim.Adam(net.parameters(), settings.learning_rate)

    def latent(self, x: Tensor) -> Tensor:
        """Return the codes ``(n, c, h, w)`` before the memory."""
        found: Tensor = self.net.down(2 * x - 1)
        return found

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Take one step."""
        x, z = 2 * batch.x - 1, self.latent(batch.x)
        w = self.net.address(z, shrunk=number >= self.settings.warm_up)
        error = F.mse_loss(self.net.up(self.net.recall(w)), x)
        spread = entropy(w)
        constraint = self.constraint(z, batch)
        self.descend("net", error + self.settings.entropy_weight * spread + constraint)
        return {"loss": error.detach(), "entropy": spread.detach(), **self.constraint_parts(constraint)}


class Memae(ReconstructionScorer):
    """Mean over the cell of the length of the colour difference, ``|| x - x' ||_2`` at each pixel.

    The nearest memory item is what the decoder draws where every place recalls its first item alone.
    """

    name = "memae"
    presets: ClassVar[Mapping[str, MemaeSettings]] = {
        CELL: MemaeSettings(widths=(32, 64, 128), latent_dim=128, steps=3000, slots=200),
        CODE: MemaeSettings(
            size_px=64,
            outside="keep",
            region="crop",
            widths=(96, 128, 256, 256),
            latent_dim=256,
            batch_size=14,
            learning_rate=1e-4,
            epochs=100,
            steps=10_000_000,
            turn_deg=0,
            shift=0,
            zoom=0,
            mirror=False,
            slots=2000,
            shrink=5.0,
            warm_up=1000,
        ),
    }
    network: MemaeSettings
    net: MemaeNet

    def build(self) -> MemaeNet:
        """Return the networks."""
        return MemaeNet(self.network)

    def training_of(self, net: nn.Module) -> MemaeTraining:
        """Return the training."""
        assert isinstance(net, MemaeNet)
        return MemaeTraining(net, self.network)

    def judge(self, cells: CellImages) -> Judged:
        """Return score, twin, difference and nearest items."""
        x = 2 * cells.x - 1
        w = self.net.address(self.net.down(x), shrunk=True)
        first = F.one_hot(w.argmax(dim=-1), w.shape[-1]).to(w)
        twin, nearest = (self.net.up(self.net.recall(weights)) for weights in (w, first))
        length = (x - twin).norm(dim=1)
        pictures = [((values + 1) / 2).clamp(0, 1) for values in (twin, nearest)]
        heat = (cells.x - pictures[0]).abs().mean(dim=1)
        return Judged(cells.mean(length) + 1e-9, pictures[0], heat, pictures[1])
