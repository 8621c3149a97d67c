"""The score ``fanogan``: a Wasserstein GAN and an encoder into it (f-AnoGAN, Schlegl et al., MedIA 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from pydantic import Field
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.cell_images import CellImages
from napari_amil.core.anomaly.reconstruction.network_settings import CELL, CODE, NetworkSettings
from napari_amil.core.anomaly.reconstruction.network_training import Batch, NetworkTraining, frozen
from napari_amil.core.anomaly.reconstruction.scorer import Judged, ReconstructionScorer


class FanoganSettings(NetworkSettings):
    """Both stages: first generator and critic, then the encoder while these rest."""

    gan_share: float = Field(0.6, gt=0, lt=1)
    """Share of the optimiser steps that generator and critic learn; the encoder has the rest."""
    critic_steps: int = Field(5, ge=1)
    """Steps of the critic for one of the generator."""
    penalty: float = Field(10.0, ge=0)
    """Weight of the gradient penalty."""
    feature_weight: float = Field(1.0, ge=0)
    """kappa: weight of the critic's features in the loss of the encoder and in the score."""
    encoder_rate: float = Field(5e-5, gt=0, lt=1)
    """Step size of the encoder."""
    z_bound: Literal["tanh", "3tanh", "none"] = "tanh"
    """Bound of the encoder's code; tanh cannot reach the third of normal numbers beyond -1 and 1."""


Norm = Callable[[int], nn.Module]


def _batch_norm(n: int) -> nn.Module:
    return nn.BatchNorm2d(n, eps=1e-3, momentum=0.01)


def _layer_norm(n: int) -> nn.Module:
    """Return normalisation over channels and pixels of one picture, with a factor for each channel."""
    return nn.GroupNorm(1, n, eps=1e-5)


class FanoganBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice, beside a shortcut; halves or doubles the resolution."""

    def __init__(self, n_in: int, n_out: int, norm: Norm, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.norms = nn.ModuleList([norm(n_in), norm(n_out)])
        self.first, self.second = (
            nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False),
            nn.Conv2d(n_out, n_out, 3, 1, 1),
        )
        self.shortcut = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, n_out, h', w')``."""
        y = self.norms[0](x).relu()
        y = self.first(F.interpolate(y, scale_factor=2, mode="nearest") if self.up else y)
        y = self.second(self.norms[1](y).relu())
        if self.up:
            found: Tensor = y + self.shortcut(F.interpolate(x, scale_factor=2, mode="nearest"))
            return found
        halved: Tensor = F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return halved


def trunk(settings: FanoganSettings, norm: Norm) -> nn.Sequential:
    """Return the convolutions of critic and encoder, to a flat vector."""
    w = settings.widths
    blocks = [FanoganBlock(a, b, norm, up=False) for a, b in pairwise((*w, w[-1]))]
    return nn.Sequential(nn.Conv2d(settings.channels, w[0], 3, 1, 1), *blocks, nn.Flatten())


class FanoganNet(nn.Module):
    """Generator, critic and encoder; pictures -1 to 1."""

    def __init__(self, settings: FanoganSettings) -> None:
        super().__init__()
        w, self.settings = settings.widths, settings
        self.start = nn.Linear(settings.latent_dim, 16 * w[-1])
        rising = [FanoganBlock(a, b, _batch_norm, up=True) for a, b in pairwise((w[-1], *reversed(w)))]
        self.draw = nn.Sequential(
            *rising, _batch_norm(w[0]), nn.ReLU(), nn.Conv2d(w[0], settings.channels, 3, 1, 1), nn.Tanh()
        )
        self.features = trunk(settings, _layer_norm)
        self.critic = nn.Linear(16 * w[-1], 1)
        self.code = nn.Sequential(trunk(settings, _batch_norm), nn.Linear(16 * w[-1], settings.latent_dim))

    def decode(self, z: Tensor) -> Tensor:
        """Return ``G(z)``."""
        found: Tensor = self.draw(self.start(z).unflatten(1, (-1, 4, 4)))
        return found

    def encode(self, x: Tensor) -> Tensor:
        """Return ``E(x)``, bounded."""
        z: Tensor = self.code(x)
        bound = self.settings.z_bound
        return z if bound == "none" else (3.0 if bound == "3tanh" else 1.0) * z.tanh()


def izi_difference(net: FanoganNet, x: Tensor, twin: Tensor) -> Tensor:
    """Return ``mean (x - G(E(x)))^2 + kappa mean (f(x) - f(G(E(x))))^2``, ``(n,)``."""
    features = [net.features(values) for values in (x, twin)]
    error = (x - twin).square().mean(dim=(1, 2, 3))
    return error + net.settings.feature_weight * (features[0] - features[1]).square().mean(dim=1)


class FanoganTraining(NetworkTraining):
    """WGAN with gradient penalty (Gulrajani et al. 2017), then ``izi_f`` of the encoder."""

    settings: FanoganSettings
    encoder_optimiser = "encoder"

    def __init__(self, net: FanoganNet, settings: FanoganSettings) -> None:
        super().__init__(settings)
        self.net = net
        self.generator = nn.ModuleList([net.start, net.draw])
        self.judge = nn.ModuleList([net.features, net.critic])
        for name, part in (("generator", self.generator), ("critic", self.judge)):
            self.optimisers[name] = torch.optim.Adam(part.parameters(), settings.learning_rate, (0.0, 0.9))
        self.optimisers["encoder"] = torch.optim.RMSprop(
            net.code.parameters(), settings.encoder_rate, alpha=0.9, eps=1e-10
        )

    def latent(self, x: Tensor) -> Tensor:
        """Return the codes ``(n, k)``."""
        return self.net.encode(2 * x - 1)

    def critic_loss(self, x: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        """Return ``mean D(G(z)) - mean D(x) + 10 mean (|grad D(x_mix)| - 1)^2``."""
        real, made = (self.net.critic(self.net.features(values)).mean() for values in (x, fake))
        between = (mix * x + (1 - mix) * fake).requires_grad_()
        value = self.net.critic(self.net.features(between)).sum()
        (slope,) = torch.autograd.grad(value, between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return made - real + self.settings.penalty * penalty

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Take a step of the critic, now and then of the generator; later one of the encoder."""
        x, n = 2 * batch.x - 1, len(batch.x)
        if number >= round(self.settings.gan_share * self.settings.steps):
            return self._encoder_step(x, batch)
        frozen(self.judge, yes=False)
        noise = batch.normal(n, self.settings.latent_dim)
        with torch.no_grad():
            fake = self.net.decode(noise)
        mix = torch.rand(n, 1, 1, 1, generator=batch.generator).to(x)
        loss = self.critic_loss(x, fake, mix)
        self.descend("critic", loss)
        if number % self.settings.critic_steps == 0:
            frozen(self.judge, yes=True)
            made = self.net.decode(batch.normal(n, self.settings.latent_dim))
            self.descend("generator", -self.net.critic(self.net.features(made)).mean())
        return {"loss": loss.detach()}

    def _encoder_step(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Take a step of the encoder; generator and critic rest, the normalisation of the former too."""
        self.generator.eval()
        frozen(self.generator, yes=True)
        frozen(self.judge, yes=True)
        z = self.net.encode(x)
        loss = izi_difference(self.net, x, self.net.decode(z)).mean()
        constraint = self.constraint(z, batch)
        self.descend("encoder", loss + constraint)
        return {"loss": loss.detach(), **self.constraint_parts(constraint)}


class Fanogan(ReconstructionScorer):
    """Squared difference of pixels and of the critic's features (`izi_difference`), of the whole picture."""

    name = "fanogan"
    presets: ClassVar[Mapping[str, FanoganSettings]] = {
        CELL: FanoganSettings(
            widths=(24, 48, 96),
            latent_dim=64,
            learning_rate=3e-4,
            encoder_rate=5e-4,
            critic_steps=2,
            steps=4000,
            z_bound="3tanh",
        ),
        CODE: FanoganSettings(
            size_px=64,
            grey=True,
            outside="keep",
            region="crop",
            widths=(64, 128, 256, 512),
            latent_dim=128,
            batch_size=64,
            learning_rate=1e-4,
            gan_share=2 / 3,
            epochs=10_000_000,
            steps=150_000,
            turn_deg=0,
            shift=0,
            zoom=0,
            mirror=False,
        ),
    }
    network: FanoganSettings
    net: FanoganNet

    def build(self) -> FanoganNet:
        """Return the networks."""
        return FanoganNet(self.network)

    def training_of(self, net: nn.Module) -> FanoganTraining:
        """Return the training."""
        assert isinstance(net, FanoganNet)
        return FanoganTraining(net, self.network)

    def judge(self, cells: CellImages) -> Judged:
        """Return score, twin and plain difference."""
        x = 2 * cells.x - 1
        drawn = self.net.decode(self.net.encode(x))
        twin = (drawn + 1) / 2
        return Judged(izi_difference(self.net, x, drawn) + 1e-9, twin, (cells.x - twin).abs().mean(dim=1))
