"""Encoder of image crops: a small residual network."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

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
        self.colour = colour
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
        x = crops.float() / 255.0 if crops.dtype == torch.uint8 else crops
        if not self.colour:  # exp(-mean optical density), the geometric mean of the channels
            x = x.clamp_min(1 / 255).log().mean(dim=1, keepdim=True).exp().expand(-1, 3, -1, -1)
        x = (1.0 - x).contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        fine = self.fine(self.stem(x))  # (n, 2 width, size/4, size/4); background becomes 0
        coarse = self.coarse(fine)  # (n, 4 width, size/8, size/8)
        levels = (fine, coarse)[-self.scales :]
        pooled = [part for level in levels for part in (level.mean((2, 3)), level.amax((2, 3)))]
        return self.project(torch.cat(pooled, dim=1))  # z_n (n, k)
