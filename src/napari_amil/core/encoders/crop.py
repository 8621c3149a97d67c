"""Encoder of image crops: a small residual network."""

from __future__ import annotations

from copy import deepcopy
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_amil.core.base.encoders import ENCODER_SPECS
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.base import Encoder


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first may halve the resolution."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.Conv2d(n_in, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, n_out, h / stride, w / stride)``."""
        return torch.relu(self.body(x) + self.shortcut(x))


class CropEncoder(Encoder):
    """A small residual network for crops of cells.

    Mean and largest activation of the last two resolutions are concatenated, so that texture and
    fine outline both reach the embedding. Batch normalisation uses running statistics in
    evaluation: the embedding of a cell does not depend on which cells are scored with it.

    Parameters
    ----------
    latent_dim
        Length k of the embedding.
    width
        Channels at the first resolution.
    dropout
        Share of the activations that a training leaves out.
    scales
        1 for the last resolution alone, 2 for both.
    colour
        Look at red, green and blue; else at their mean optical density alone, so that the colour of a
        slide's stain cannot stand for its class.
    """

    spec = ENCODER_SPECS["crop"]

    def __init__(
        self, latent_dim: int, width: int = 24, dropout: float = 0.0, scales: int = 2, *, colour: bool = True
    ) -> None:
        super().__init__()
        self.colour, self.n_channels = colour, 3
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.fine = ResidualBlock(width, 2 * width, 2)
        self.coarse = ResidualBlock(2 * width, 4 * width, 2)
        self.to(memory_format=torch.channels_last)
        self.scales = scales
        n_pooled = 2 * sum((2 * width, 4 * width)[-scales:])
        self.project = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_pooled, latent_dim))

    @classmethod
    def from_settings(cls, settings: ModelSettings, n_inputs: int) -> Self:
        """Return the encoder of the settings; crops always have 3 channels."""
        return cls(
            settings.latent_dim, settings.width, settings.dropout, settings.scales, colour=settings.colour
        )

    def forward(self, crops: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of crops ``(n, 3, size, size)``, uint8 or 0 to 1."""
        return self.embed(self.pixelwise(crops))

    def pixelwise(self, crops: Tensor) -> Tensor:
        """Return darkness ``(n, 3 or 1, size, size)``, background 0; one channel without colour."""
        x = crops.float() / 255.0 if crops.dtype == torch.uint8 else crops
        if not self.colour:  # exp(-mean optical density), the geometric mean of the channels
            x = x.clamp_min(1 / 255).log().mean(dim=1, keepdim=True).exp()
        return 1.0 - x

    def embed(self, prepared: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of darkness ``(n, 3 or 1, size, size)``."""
        x = prepared.expand(-1, self.n_channels, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        fine = self.fine(self.stem(x))  # (n, 2 width, size/4, size/4)
        coarse = self.coarse(fine)  # (n, 4 width, size/8, size/8)
        levels = (fine, coarse)[-self.scales :]
        pooled = [part for level in levels for part in (level.mean((2, 3)), level.amax((2, 3)))]
        return self.project(torch.cat(pooled, dim=1))  # z_n (n, k)

    def folded(self) -> CropEncoder:
        """Return a copy for evaluation: convolutions that normalise, and one channel without colour."""
        copy = deepcopy(self).eval()
        parts = [part for block in (copy.fine, copy.coarse) for part in (block.body, block.shortcut)]
        for part in (copy.stem, *parts):
            _fold(part)
        if not self.colour:
            first = cast(nn.Conv2d, copy.stem[0])
            weight = first.weight.sum(dim=1)[..., None].permute(0, 3, 1, 2)  # with channels last
            first.weight, copy.n_channels = nn.Parameter(weight), 1
        return copy


def _fold(layers: nn.Sequential) -> None:
    """Replace each convolution and the batch normalisation after it by one convolution."""
    for place in range(len(layers) - 1):
        conv, norm = layers[place], layers[place + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[place], layers[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
