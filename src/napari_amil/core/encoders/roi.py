"""Encoders of the detector's feature maps, as AMIL and attMIL published them, and the scaling of maps."""

from __future__ import annotations

from typing import Self, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from napari_amil.core.base.encoders import ENCODER_SPECS
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.base import Encoder


class RoiEncoder(Encoder):
    """The published encoder of the detector's feature maps: three convolutions and one layer.

    Kazeminia et al. 2022: convolutions of 301, 500 and 650 channels (2x2, stride 2, the first
    padded by 2), pooling after the second, then a layer of k units with ReLU, so ``z_n >= 0``.
    Patches of 2x2 pixels do not overlap, so a convolution is one product of matrices, which takes
    two thirds of the time.

    Parameters
    ----------
    latent_dim
        Length k of the embedding (500 in the paper).
    in_channels
        Channels of a map: 256 in the paper, 64 for the light detector.
    """

    spec = ENCODER_SPECS["roi"]

    def __init__(self, latent_dim: int, in_channels: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, 301, 2, 2, 2),  # (n, 301, 9, 9)
            nn.ReLU(inplace=True),
            nn.Conv2d(301, 500, 2, 2),  # (n, 500, 4, 4)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # (n, 500, 2, 2)
            nn.Conv2d(500, 650, 2, 2),  # (n, 650, 1, 1)
            nn.ReLU(inplace=True),
        )
        self.project = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(650, latent_dim), nn.ReLU(inplace=True)
        )

    @classmethod
    def from_settings(cls, settings: ModelSettings, n_inputs: int) -> Self:
        """Return the encoder of the settings, for maps of ``n_inputs`` channels."""
        return cls(settings.latent_dim, n_inputs, settings.dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of feature maps ``(n, in_channels, 14, 14)``."""
        first, second, third = (layer for layer in self.convolutions if isinstance(layer, nn.Conv2d))
        x = _convolve(first, maps.float().movedim(1, -1))  # (n, 7, 7, 301)
        # Beyond lies the padding, which sees its own bias alone; of it one row and column are used.
        framed = torch.relu(cast(Tensor, first.bias)).to(x).expand(len(x), 8, 8, -1).clone()
        framed[:, 1:, 1:] = x
        x = _convolve(second, framed)  # (n, 4, 4, 500)
        x = x.reshape(len(x), 2, 2, 2, 2, -1).amax((2, 4))  # (n, 2, 2, 500)
        return self.project(_convolve(third, x))  # z_n (n, k)


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the ReLU of a 2x2 convolution with stride 2, ``(n, h/2, w/2, n_out)``, of ``(n, h, w, c)``."""
    n, height, width, channels = x.shape
    patches = x.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(2, 3).flatten(3)
    return F.linear(patches, layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias).relu_()


class AttMilRoiEncoder(Encoder):
    """The encoder of the detector's feature maps of attMIL (Sadafi et al. 2020).

    Convolutions of 128 (3x3), 64 (1x1) and 32 (3x3) channels, dropout after the first, pooling after
    the second, then a layer of k units with ReLU.

    Parameters
    ----------
    latent_dim
        Length k of the embedding (500 in the paper).
    in_channels
        Channels of a map: 256 in the paper, 64 for the light detector.
    dropout
        0.1 in the paper.
    """

    spec = ENCODER_SPECS["roi-attmil"]

    def __init__(self, latent_dim: int, in_channels: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, 128, 3),  # (n, 128, 12, 12)
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(128, 64, 1),  # (n, 64, 12, 12)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # (n, 64, 6, 6)
            nn.Conv2d(64, 32, 3),  # (n, 32, 4, 4)
            nn.ReLU(inplace=True),
        )
        self.project = nn.Sequential(nn.Flatten(), nn.Linear(512, latent_dim), nn.ReLU(inplace=True))

    @classmethod
    def from_settings(cls, settings: ModelSettings, n_inputs: int) -> Self:
        """Return the encoder of the settings, for maps of ``n_inputs`` channels."""
        return cls(settings.latent_dim, n_inputs, settings.dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of feature maps ``(n, in_channels, 14, 14)``."""
        return self.project(self.convolutions(maps.float()))  # z_n (n, k)


def scale_roi_maps(maps: Tensor) -> Tensor:
    """Scale feature maps ``(n, c, h, w)`` to -1..1 over all cells of one image, as published.

    Returns
    -------
    Tensor
        ``(n, c, h, w)`` float32. The maps of an image without contrast become 0.
    """
    if not len(maps):
        return maps.float()
    x = maps.float()
    low = x.amin()
    span = x.amax() - low
    scaled = 2 * (x - low) / span.clamp_min(1e-12) - 1
    return torch.where(span > 0, scaled, torch.zeros_like(scaled))
