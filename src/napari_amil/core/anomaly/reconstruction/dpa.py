"""The score ``dpa``: deep perceptual autoencoder (Shvetsova et al., IEEE Access 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from pydantic import Field
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.cell_images import CellImages
from napari_amil.core.anomaly.reconstruction.network_settings import CELL, CODE, NetworkSettings
from napari_amil.core.anomaly.reconstruction.network_training import Batch, NetworkTraining
from napari_amil.core.anomaly.reconstruction.perceptual import VGG, PerceptualNet
from napari_amil.core.anomaly.reconstruction.scorer import Judged, PerceptualScorer


class DpaSettings(NetworkSettings):
    """Loss, which is the score too; the last of the widths is that of 4 x 4 pixels."""

    coarsest_counts: ClassVar[bool] = True

    pixel_weight: float = Field(0.1, ge=0)
    """Weight of the mean absolute difference of pixels beside the perceptual one."""
    decay_every: int = Field(10_000, ge=1)
    """Optimiser steps after which the step size falls."""
    decay: float = Field(0.8, gt=0, le=1)
    """Factor by which it falls."""


class DpaBlock(nn.Module):
    """LeakyReLU and 3x3 convolution, twice, beside a shortcut; no normalisation; may change the scale."""

    def __init__(self, n_in: int, n_out: int, scale: str = "same") -> None:
        super().__init__()
        self.scale = {
            "down": nn.AvgPool2d(2),
            "up": nn.Upsample(scale_factor=2, mode="nearest"),
            "same": nn.Identity(),
        }[scale]
        self.first, self.second = nn.Conv2d(n_in, n_out, 3, 1, 1), nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, n_out, h', w')``."""
        y = self.first(self.scale(F.leaky_relu(x, 0.2)))
        found: Tensor = self.second(F.leaky_relu(y, 0.2)) + self.shortcut(self.scale(x))
        return found


class DpaNet(nn.Module):
    """Encoder to a code of one place, and decoder; inputs -1 to 1, linear output, Kaiming weights."""

    def __init__(self, settings: DpaSettings) -> None:
        super().__init__()
        w, n_colours, k = settings.widths, settings.channels, settings.latent_dim
        down, up = list[nn.Module](), list[nn.Module]()
        for a, b in pairwise(w):
            down += [DpaBlock(a, b, "down"), DpaBlock(b, b)]
        for a, b in pairwise(reversed(w)):
            up += [DpaBlock(a, b, "up"), DpaBlock(b, b)]
        self.down = nn.Sequential(
            nn.Conv2d(n_colours, w[0], 3, 1, 1),
            *(DpaBlock(w[0], w[0]) for _ in range(2)),
            *down,
            nn.LeakyReLU(0.2),
            nn.Conv2d(w[-1], k, 4),
        )
        self.up = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(k, w[-1], 4, 1, 3),
            *up,
            nn.LeakyReLU(0.2),
            nn.Conv2d(w[0], n_colours, 3, 1, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.2, mode="fan_out")


class DpaTraining(NetworkTraining):
    """``L = sum_l mean|f_l(x) - f_l(x')| / mean|f_l(x)| / n_levels + w mean|x - x'|``."""

    settings: DpaSettings

    def __init__(self, net: DpaNet, settings: DpaSettings, score: Dpa) -> None:
        super().__init__(settings)
        self.net = net
        self.optimisers["net"] = torch.optim.Adam(net.parameters(), settings.learning_rate)
        self._difference = score.difference

    def latent(self, x: Tensor) -> Tensor:
        """Return the codes ``(n, k, 1, 1)``."""
        found: Tensor = self.net.down(2 * x - 1)
        return found

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Take one step."""
        for group in self.optimisers["net"].param_groups:
            group["lr"] = self.settings.learning_rate * self.settings.decay ** (
                number // self.settings.decay_every
            )
        z = self.latent(batch.x)
        loss = self._difference(batch.x, (self.net.up(z) + 1) / 2).mean()
        constraint = self.constraint(z, batch)
        self.descend("net", loss + constraint)
        return {"loss": loss.detach(), **self.constraint_parts(constraint)}


class Dpa(PerceptualScorer):
    """Relative perceptual difference between a cell and its reconstruction, of the whole picture.

    ``score = L_rel(x, x') + w mean|x - x'|`` (`PerceptualNet.relative_difference`), the loss of the training;
    of VGG19 the levels of ReLU 3_2 and 4_2 are compared, of other networks all.
    """

    name = "dpa"
    presets: ClassVar[Mapping[str, DpaSettings]] = {
        CELL: DpaSettings(widths=(16, 32, 64, 64), latent_dim=64, steps=3000),
        CODE: DpaSettings(
            size_px=64,
            grey=True,
            outside="keep",
            region="crop",
            widths=(16, 32, 32, 32, 64),
            latent_dim=128,
            batch_size=32,
            epochs=10_000_000,
            steps=16_000,
            turn_deg=0,
            shift=0,
            zoom=0,
            mirror=False,
        ),
    }
    network: DpaSettings
    net: DpaNet

    def build(self) -> DpaNet:
        """Return the networks."""
        return DpaNet(self.network)

    def training_of(self, net: nn.Module) -> DpaTraining:
        """Return the training."""
        assert isinstance(net, DpaNet)
        return DpaTraining(net, self.network, self)

    def difference(self, x: Tensor, twin: Tensor) -> Tensor:
        """Return the loss of each picture ``(n,)``; both are 0 to 1."""
        net: PerceptualNet = self.perceptual
        levels = (2, 3) if net.kind == VGG else ()
        pixels = 2 * (x - twin).abs().mean(dim=(1, 2, 3))  # of values -1 to 1
        return net.relative_difference(x, twin, levels) + self.network.pixel_weight * pixels

    def judge(self, cells: CellImages) -> Judged:
        """Return score, twin and plain difference."""
        twin = (self.net.up(self.net.down(2 * cells.x - 1)) + 1) / 2
        heat = (cells.x - twin.clamp(0, 1)).abs().mean(dim=1)
        return Judged(self.difference(cells.x, twin) + 1e-9, twin.clamp(0, 1), heat)
