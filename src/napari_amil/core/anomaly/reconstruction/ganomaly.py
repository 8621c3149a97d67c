"""The score ``ganomaly``: encoder, decoder and a second encoder (Akcay et al., ACCV 2018)."""

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
from napari_amil.core.anomaly.reconstruction.network_training import Batch, NetworkTraining, frozen
from napari_amil.core.anomaly.reconstruction.scorer import Judged, ReconstructionScorer

_REBORN_BELOW = 1e-5
"""Loss of the discriminator below which its weights are drawn again, since it teaches nothing more."""


class GanomalySettings(NetworkSettings):
    """Weights of the losses of the generator."""

    adversarial_weight: float = Field(1.0, ge=0)
    """Weight of the difference of the discriminator's features."""
    context_weight: float = Field(50.0, ge=0)
    """Weight of the mean absolute difference of the pixels."""
    encoder_weight: float = Field(1.0, ge=0)
    """Weight of the squared difference of both codes."""


def dcgan_encoder(settings: GanomalySettings, n_out: int) -> nn.Sequential:
    """Return convolutions with stride 2 to ``(n, n_out, 1, 1)``, as DCGAN has them."""
    w, layers = settings.widths, list[nn.Module]()
    for number, (a, b) in enumerate(pairwise((settings.channels, *w))):
        layers.append(nn.Conv2d(a, b, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(b)] if number else []
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Conv2d(w[-1], n_out, 4, bias=False))


def dcgan_decoder(settings: GanomalySettings) -> nn.Sequential:
    """Return transposed convolutions from ``(n, k, 1, 1)`` to pictures -1 to 1."""
    w, layers = settings.widths, list[nn.Module]()
    layers += [
        nn.ConvTranspose2d(settings.latent_dim, w[-1], 4, bias=False),
        nn.BatchNorm2d(w[-1]),
        nn.ReLU(),
    ]
    for a, b in pairwise(reversed(w)):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(w[0], settings.channels, 4, 2, 1, bias=False), nn.Tanh())


def dcgan_weights(net: nn.Module) -> None:
    """Draw weights as DCGAN does: N(0, 0.02), of normalisation N(1, 0.02)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


class GanomalyNet(nn.Module):
    """Encoder, decoder and second encoder."""

    def __init__(self, settings: GanomalySettings) -> None:
        super().__init__()
        self.first = dcgan_encoder(settings, settings.latent_dim)
        self.draw = dcgan_decoder(settings)
        self.second = dcgan_encoder(settings, settings.latent_dim)
        dcgan_weights(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the code, the redrawn picture and its code, of pictures -1 to 1."""
        z = self.first(x)
        twin = self.draw(z)
        return z, twin, self.second(twin)


class GanomalyTraining(NetworkTraining):
    """Generator and discriminator in turn.

    ``L_G = w_adv MSE(f(x), f(x')) + w_con mean|x - x'| + w_enc MSE(z, z')``, with f the discriminator's
    features before its last convolution; ``L_D = (BCE(D(x), 1) + BCE(D(x'), 0)) / 2``.
    """

    settings: GanomalySettings

    def __init__(self, net: GanomalyNet, settings: GanomalySettings) -> None:
        super().__init__(settings)
        self.net, self.critic = net, dcgan_encoder(settings, 1)
        dcgan_weights(self.critic)
        for name, part in (("net", net), ("critic", self.critic)):
            self.optimisers[name] = torch.optim.Adam(part.parameters(), settings.learning_rate, (0.5, 0.999))

    def latent(self, x: Tensor) -> Tensor:
        """Return the codes ``(n, k, 1, 1)`` of the first encoder."""
        found: Tensor = self.net.first(2 * x - 1)
        return found

    def generator_loss(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``L_G``, the redrawn pictures and the codes."""
        known = self.settings
        z, twin, again = self.net(x)
        features = [self.critic[:-1](values) for values in (x, twin)]
        loss = known.adversarial_weight * F.mse_loss(features[1], features[0].detach())
        loss = loss + known.context_weight * (x - twin).abs().mean()
        return loss + known.encoder_weight * F.mse_loss(again, z), twin, z

    def critic_loss(self, x: Tensor, twin: Tensor) -> Tensor:
        """Return ``L_D``."""
        real, fake = (self.critic(values).flatten() for values in (x, twin.detach()))
        ones = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        return 0.5 * (ones + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)))

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Take a step of the generator, then one of the discriminator."""
        x = 2 * batch.x - 1
        frozen(self.critic, yes=True)
        loss, twin, z = self.generator_loss(x)
        constraint = self.constraint(z, batch)
        self.descend("net", loss + constraint)
        frozen(self.critic, yes=False)
        critic_loss = self.critic_loss(x, twin)
        self.descend("critic", critic_loss)
        if float(critic_loss.detach()) < _REBORN_BELOW:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(number)
                dcgan_weights(self.critic)
        return {"loss": loss.detach(), "critic": critic_loss.detach(), **self.constraint_parts(constraint)}


class Ganomaly(ReconstructionScorer):
    """Gap between the code of a cell and that of its reconstruction: ``mean_j (z_j - z'_j)^2``.

    Networks are in evaluation, so that the score does not depend on the other cells, and it is not scaled by
    those that are scored, as the published program does.
    """

    name = "ganomaly"
    presets: ClassVar[Mapping[str, GanomalySettings]] = {
        CELL: GanomalySettings(widths=(32, 64, 128), latent_dim=64, learning_rate=5e-4, steps=3000),
        CODE: GanomalySettings(
            size_px=64,
            outside="keep",
            region="crop",
            widths=(64, 128, 256, 512),
            latent_dim=100,
            batch_size=64,
            learning_rate=2e-4,
            epochs=15,
            steps=10_000_000,
            turn_deg=0,
            shift=0,
            zoom=0,
            mirror=False,
        ),
    }
    network: GanomalySettings
    net: GanomalyNet

    def build(self) -> GanomalyNet:
        """Return the networks."""
        return GanomalyNet(self.network)

    def training_of(self, net: nn.Module) -> GanomalyTraining:
        """Return the training."""
        assert isinstance(net, GanomalyNet)
        return GanomalyTraining(net, self.network)

    def judge(self, cells: CellImages) -> Judged:
        """Return score, twin and plain difference."""
        z, drawn, again = self.net(2 * cells.x - 1)
        twin = (drawn + 1) / 2
        gap = (z - again).square().mean(dim=(1, 2, 3))
        return Judged(gap + 1e-9, twin, (cells.x - twin).abs().mean(dim=1))
