"""The score ``ra``: reversed autoencoder (Bercea et al., MIDL 2023) on a Soft-IntroVAE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from pydantic import Field
from skimage.exposure import equalize_adapthist
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.cell_images import CellImages
from napari_amil.core.anomaly.reconstruction.network_settings import CELL, CODE, NetworkSettings
from napari_amil.core.anomaly.reconstruction.network_training import Batch, NetworkTraining, frozen
from napari_amil.core.anomaly.reconstruction.perceptual import PerceptualNet
from napari_amil.core.anomaly.reconstruction.scorer import Judged, PerceptualScorer
from napari_amil.core.base.settings import ModelSettings


class RaSettings(NetworkSettings):
    """Weights of the losses of a reversed autoencoder, and how its score is made."""

    reconstruction_weight: float = Field(0.5, ge=0)
    """beta_rec: weight of the squared error of the reconstruction, half the inverse variance of a pixel."""
    kl_weight: float = Field(1.0, ge=0)
    """beta_kl: weight of the divergence of the codes of real cells from the prior."""
    negative_weight: float = Field(128.0, ge=0)
    """beta_neg: weight of the divergence of the codes of redrawn and of made-up cells."""
    gamma: float = Field(1e-8, ge=0)
    """gamma_r: weight of redrawing what was redrawn before, in the loss of the decoder."""
    embedding_weight: float = Field(0.005, ge=0)
    """Weight of the reversed term: cell and twin have like features at every scale of the encoder."""
    vae_share: float = Field(0.0, ge=0, le=1)
    """Share of the optimiser steps, the first ones, in which it learns as a plain variational autoencoder."""
    batch_norm: Literal["train", "affine"] = "train"
    """Normalise by the batch while training, or by nothing, as the published program does unawares."""
    equalise: Literal["none", "shared", "each"] = "none"
    """Equalise the contrast of cell and twin: not, with the stretch of the cell, or each by itself, which
    hides a pale cell."""
    saliency: bool = True
    """Multiply the difference by the perceptual one."""
    blur_px: float = Field(1.0, gt=0, le=8)
    """Standard deviation of the blur of the perceptual difference, in pixels of the input."""
    shortcut_always: bool = False
    """Convolve the shortcuts between levels of equal width too, as the published program does."""


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a shortcut; LeakyReLU after the sum."""

    def __init__(self, n_in: int, n_out: int, *, convolved: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.LeakyReLU(0.2),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False) if convolved or n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, n_out, h, w)``."""
        return F.leaky_relu(self.body(x) + self.shortcut(x), 0.2)


class RaNet(nn.Module):
    """Encoder and decoder of a Soft-IntroVAE (Daniel & Tamar 2021)."""

    def __init__(self, settings: RaSettings) -> None:
        super().__init__()
        w, always, n_colours = settings.widths, settings.shortcut_always, settings.channels
        first = nn.Sequential(
            nn.Conv2d(n_colours, w[0], 5, 1, 2, bias=False), nn.BatchNorm2d(w[0]), nn.LeakyReLU(0.2)
        )
        self.levels = nn.ModuleList([first, *(Block(a, b, convolved=always) for a, b in pairwise(w))])
        self.last = Block(w[-1], w[-1], convolved=False)
        self.code = nn.Linear(16 * w[-1], 2 * settings.latent_dim)
        self.start = nn.Sequential(nn.Linear(settings.latent_dim, 16 * w[-1]), nn.ReLU())
        rising = [Block(a, b, convolved=always) for a, b in pairwise(reversed(w))]
        self.rising = nn.ModuleList([Block(w[-1], w[-1], convolved=False), *rising])
        self.draw = nn.Sequential(
            Block(w[0], w[0], convolved=False), nn.Conv2d(w[0], n_colours, 5, 1, 2), nn.Sigmoid()
        )

    @property
    def encoder(self) -> nn.ModuleList:
        """Parts of the encoder."""
        return nn.ModuleList([self.levels, self.last, self.code])

    @property
    def decoder(self) -> nn.ModuleList:
        """Parts of the decoder."""
        return nn.ModuleList([self.start, self.rising, self.draw])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return ``mu`` and ``log sigma^2 (n, k)``, and the features after each pooling."""
        features = []
        for level in self.levels:
            x = F.avg_pool2d(level(x), 2)
            features.append(x)
        mu, logvar = self.code(self.last(x).flatten(1)).chunk(2, dim=1)
        return mu, logvar, features

    def decode(self, z: Tensor) -> Tensor:
        """Return pictures ``(n, c, size, size)``, 0 to 1, of codes ``(n, k)``."""
        x = self.start(z).unflatten(1, (-1, 4, 4))
        for block in self.rising:
            x = F.interpolate(block(x), scale_factor=2, mode="nearest")
        return self.draw(x)


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return ``KL = -1/2 sum_j (1 + log sigma_j^2 - sigma_j^2 - mu_j^2)``, ``(n,)``."""
    return -0.5 * (1 + logvar - logvar.exp() - mu.square()).sum(dim=1)


def squared(x: Tensor, y: Tensor) -> Tensor:
    """Return ``L_r``: the sum of squared differences of each picture, ``(n,)``."""
    return (x - y).square().flatten(1).sum(dim=1)


def embedding_loss(real: list[Tensor], redrawn: list[Tensor]) -> Tensor:
    """Return ``sum_l 1/2 MSE(E_l(x), E_l(x')) + mean(1 - cos(E_l(x), E_l(x')))``."""
    parts = [
        0.5 * F.mse_loss(f, g) + (1 - F.cosine_similarity(f.flatten(1), g.flatten(1), dim=1)).mean()
        for f, g in zip(real, redrawn, strict=True)
    ]
    return torch.stack(parts).sum()


class RaTraining(NetworkTraining):
    """Encoder and decoder in turn, on every batch.

    With ``s = 1 / (C H W)``, ``x' = D(z)``, ``x_f = D(noise)``, and ``sg`` for no gradient:

    ``L_E = s (b_rec L_r(x, x') + b_kl KL(x)) + w L_emb(x, x')
    + 1/4 sum_{y in x', x_f} mean exp(-2 s (b_rec L_r(y, D(E(sg y))) + b_neg KL(sg y)))``

    ``L_D = s (b_rec L_r(x, x') + b_kl / 2 (KL(x') + KL(x_f))
    + g b_rec / 2 (L_r(sg x', D(sg z')) + L_r(sg x_f, D(sg z_f))))``
    """

    settings: RaSettings
    encoder_optimiser = "encoder"

    def __init__(self, net: RaNet, settings: RaSettings) -> None:
        super().__init__(settings)
        self.net = net
        for name, part in (("encoder", net.encoder), ("decoder", net.decoder)):
            self.optimisers[name] = torch.optim.Adam(part.parameters(), settings.learning_rate)

    def train(self, mode: bool = True) -> Self:
        """Train; with ``batch_norm`` 'affine' the normalisation stays as it is at first."""
        super().train(mode)
        if self.settings.batch_norm == "affine":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Take a step of the encoder, then one of the decoder."""
        if number < round(self.settings.vae_share * self.settings.steps):
            return self._plain_step(batch)
        noise = batch.normal(len(batch.x), self.settings.latent_dim)
        frozen(self.net.encoder, yes=False)
        frozen(self.net.decoder, yes=True)
        loss, mu, parts = self.encoder_loss(batch.x, noise, batch.normal)
        constraint = self.constraint(mu, batch)
        self.descend("encoder", loss + constraint)
        frozen(self.net.encoder, yes=True)
        frozen(self.net.decoder, yes=False)
        decoder_loss = self.decoder_loss(batch.x, noise, batch.normal)
        self.descend("decoder", decoder_loss)
        parts |= self.constraint_parts(constraint)
        return {"loss": loss.detach(), "decoder": decoder_loss.detach(), **parts}

    def _plain_step(self, batch: Batch) -> dict[str, Tensor]:
        """Take a step of both on ``s (b_rec L_r(x, x') + b_kl KL(x))``, as Soft-IntroVAE may begin."""
        known, s = self.settings, 1.0 / self.settings.n_values
        frozen(self.net, yes=False)
        mu, logvar, _ = self.net.encode(batch.x)
        rec = squared(batch.x, self.net.decode(_drawn(mu, logvar, batch.normal))).mean()
        loss = s * (known.reconstruction_weight * rec + known.kl_weight * kl(mu, logvar).mean())
        constraint = self.constraint(mu, batch)
        self.optimisers["decoder"].zero_grad(set_to_none=True)
        self.descend("encoder", loss + constraint)
        self.optimisers["decoder"].step()
        parts = {"reconstruction": (s * rec).detach(), **self.constraint_parts(constraint)}
        return {"loss": loss.detach(), **parts}

    def latent(self, x: Tensor) -> Tensor:
        """Return the means of the codes ``(n, k)``."""
        return self.net.encode(x)[0]

    def encoder_loss(
        self, x: Tensor, noise: Tensor, normal: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return ``L_E``, the means of the codes of x, and parts of the loss.

        x' is encoded once for both terms that need it.
        """
        known, net, s = self.settings, self.net, 1.0 / self.settings.n_values
        mu, logvar, features = net.encode(x)
        redrawn = net.decode(_drawn(mu, logvar, normal))
        made_up = net.decode(noise).detach()
        rec, divergence = squared(x, redrawn).mean(), kl(mu, logvar).mean()
        loss = s * (known.reconstruction_weight * rec + known.kl_weight * divergence)
        embedding = x.new_zeros(())
        for y in (redrawn, made_up):
            own_mu, own_logvar, own_features = net.encode(y.detach())
            again = net.decode(_drawn(own_mu, own_logvar, normal))
            energy = known.reconstruction_weight * squared(y, again)
            energy = energy + known.negative_weight * kl(own_mu, own_logvar)
            loss = loss + 0.25 * (-2 * s * energy).exp().mean()
            if y is redrawn:
                embedding = embedding_loss(features, own_features)
        loss = loss + known.embedding_weight * embedding
        return loss, mu, {"reconstruction": (s * rec).detach(), "embedding": embedding.detach()}

    def decoder_loss(self, x: Tensor, noise: Tensor, normal: Callable[..., Tensor]) -> Tensor:
        """Return ``L_D``."""
        known, net, s = self.settings, self.net, 1.0 / self.settings.n_values
        with torch.no_grad():
            mu, logvar, _ = net.encode(x)
            z = _drawn(mu, logvar, normal)
        redrawn, made_up = net.decode(z), net.decode(noise)
        loss = known.reconstruction_weight * squared(x, redrawn).mean()
        for y in (redrawn, made_up):
            own_mu, own_logvar, _ = net.encode(y)
            again = net.decode(_drawn(own_mu, own_logvar, normal).detach())
            loss = loss + 0.5 * known.kl_weight * kl(own_mu, own_logvar).mean()
            loss = loss + 0.5 * known.gamma * known.reconstruction_weight * squared(y.detach(), again).mean()
        return s * loss


def _drawn(mu: Tensor, logvar: Tensor, normal: Callable[..., Tensor]) -> Tensor:
    """Return a sample of the code."""
    return mu + (0.5 * logvar).exp() * normal(*mu.shape)


class Ra(PerceptualScorer):
    """Difference between a cell and its twin, times how different they look.

    ``score = mean_region(r S)`` with ``r = |x - x'|``, a mean over colours, and ``S`` the blurred
    perceptual difference (`PerceptualNet.distance_map`). With equalised pictures x_e, x'_e it is
    ``r = |x_e - x'_e|`` and ``S`` the product of both perceptual differences, as published; each picture by
    itself makes a pale cell and its twin the same. The code is its mean ``mu``, not a sample, so that scores
    are reproducible.
    """

    name = "ra"
    presets: ClassVar[Mapping[str, RaSettings]] = {
        CELL: RaSettings(widths=(16, 32, 64), reconstruction_weight=25.0, vae_share=0.7, steps=6000),
        CODE: RaSettings(
            size_px=128,
            grey=True,
            outside="keep",
            region="crop",
            widths=(64, 128, 256, 512, 512),
            latent_dim=128,
            batch_size=8,
            learning_rate=5e-5,
            epochs=1500,
            steps=10_000_000,
            turn_deg=10,
            shift=0.1,
            zoom=0.1,
            batch_norm="affine",
            equalise="each",
            blur_px=2.0,
            shortcut_always=True,
        ),
    }
    network: RaSettings
    net: RaNet

    def __init__(self, settings: ModelSettings, perceptual: PerceptualNet | None = None) -> None:
        super().__init__(settings, perceptual)

    def build(self) -> RaNet:
        """Return encoder and decoder."""
        return RaNet(self.network)

    def training_of(self, net: nn.Module) -> RaTraining:
        """Return the training."""
        assert isinstance(net, RaNet)
        return RaTraining(net, self.network)

    def judge(self, cells: CellImages) -> Judged:
        """Return score, twin and the plain difference."""
        known, x = self.network, cells.x
        twin = self.net.decode(self.net.encode(x)[0]).clamp(0, 1)
        plain = (x - twin).abs().mean(dim=1)
        if known.equalise == "none":
            pairs = [(x, twin)]
            residual = plain
        else:
            equal = equalised(x, twin, shared=known.equalise == "shared")
            pairs = [(x, twin), equal]
            residual = (equal[0] - equal[1]).abs().mean(dim=1)
        if known.saliency:
            for first, second in pairs:
                residual = residual * blurred(self.perceptual.distance_map(first, second), known.blur_px)
        return Judged(cells.mean(residual) + 1e-9, twin, plain)


def blurred(values: Tensor, sigma_px: float) -> Tensor:
    """Return maps ``(n, h, w)`` after a Gaussian blur."""
    reach = max(1, round(3 * sigma_px))
    at = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    kernel = (-0.5 * (at / sigma_px).square()).exp()
    kernel = (kernel / kernel.sum())[None, None]
    padded = F.pad(values[:, None], [reach] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[..., None, :]), kernel[..., :, None])[:, 0]


def equalised(x: Tensor, twin: Tensor, *, shared: bool) -> tuple[Tensor, Tensor]:
    """Return both pictures with contrast-limited adaptive equalisation (clip 0.01, tiles of an eighth).

    Every colour is equalised by itself. scikit-image stretches a picture from its own least to its own
    largest value first; with ``shared`` the stretch of ``x`` is used for both.
    """
    pair = [np.asarray(values.cpu().double()) for values in (x, twin)]
    found: list[Any] = [np.empty_like(values) for values in pair]
    for index in np.ndindex(*pair[0].shape[:2]):
        planes = [values[index] for values in pair]
        if shared:  # a frame of both extremes keeps the stretch of scikit-image the same
            low, high = planes[0].min(), planes[0].max()
            planes = [_framed(plane.clip(low, high), low, high) for plane in planes]
        for values, plane in zip(found, planes, strict=True):
            equal = equalize_adapthist(plane, kernel_size=x.shape[-1] // 8, clip_limit=0.01)
            values[index] = equal[1:-1, 1:-1] if shared else equal
    return tuple(torch.from_numpy(values).to(x) for values in found)  # type: ignore[return-value]


def _framed(plane: Any, low: float, high: float) -> Any:  # noqa: ANN401 - an array
    """Return a picture with a frame of one pixel whose halves hold two given values."""
    framed = np.pad(plane, 1, mode="edge")
    framed[0, :2] = low, high
    return framed
