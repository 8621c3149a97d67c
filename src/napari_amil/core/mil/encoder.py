"""From a cell's pixels, or the detector's feature map of it, to its embedding z_n."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.batch import segment_extreme

MOST_DEVIATIONS = 5.0
"""Deviations from control cells beyond which a measurement says no more."""
_LEAST_SPREAD = 1e-6


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


class CropEncoder(nn.Module):
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
    """

    def __init__(self, latent_dim: int, width: int = 24, dropout: float = 0.0, scales: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.fine = ResidualBlock(width, 2 * width, 2)
        self.coarse = ResidualBlock(2 * width, 4 * width, 2)
        self.to(memory_format=torch.channels_last)
        self.scales = scales
        n_pooled = 2 * sum((2 * width, 4 * width)[-scales:])
        self.project = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_pooled, latent_dim))

    def forward(self, crops: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of crops ``(n, 3, size, size)``, uint8 or 0 to 1."""
        x = crops.float() / 255.0 if crops.dtype == torch.uint8 else crops
        x = (1.0 - x).contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        fine = self.fine(self.stem(x))  # (n, 2 width, size/4, size/4); background becomes 0
        coarse = self.coarse(fine)  # (n, 4 width, size/8, size/8)
        levels = (fine, coarse)[-self.scales :]
        pooled = [part for level in levels for part in (level.mean((2, 3)), level.amax((2, 3)))]
        return self.project(torch.cat(pooled, dim=1))  # z_n (n, k)


class RoiEncoder(nn.Module):
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


class AttMilRoiEncoder(nn.Module):
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

    def forward(self, maps: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of feature maps ``(n, in_channels, 14, 14)``."""
        return self.project(self.convolutions(maps.float()))  # z_n (n, k)


class MeasurementEncoder(nn.Module):
    """Small networks side by side that embed the named measurements of a cell.

    Each starts from other weights, so that what they have in common is no accident. A measurement
    counts in deviations from that of control cells, at most 5; an unknown one counts as usual.

    Parameters
    ----------
    n_measurements
        Measurements of a cell.
    columns
        Length of the part of the embedding that each network gives.
    named
        Add the measurements themselves, in standard deviations, so that none can be mapped away.
    """

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

    def fit(self, measurements: Tensor) -> None:
        """Take what is usual from control cells ``(n, n_measurements)``.

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
    return deviation.nan_to_num(nan=0.0).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS) / 2


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


def build_encoder(settings: ModelSettings, in_channels: int) -> nn.Module:
    """Return the encoder that the settings name; ``in_channels`` counts for feature maps."""
    if settings.instance == "roi":
        kind = RoiEncoder if settings.encoder == "roi" else AttMilRoiEncoder
        return kind(settings.latent_dim, in_channels, settings.dropout)
    if in_channels != 3:
        raise AmilError(
            f"The crop encoder takes crops of 3 channels, not {in_channels}; set model.encoder to 'roi'."
        )
    return CropEncoder(settings.latent_dim, settings.width, settings.dropout, settings.scales)


def scale_roi_maps(maps: Tensor, image: Tensor) -> Tensor:
    """Scale feature maps ``(n, c, h, w)`` to -1..1 over all cells of each image, as published.

    Parameters
    ----------
    image
        ``(n,)`` int64 number of the image of each cell, 0 to n_images - 1.

    Returns
    -------
    Tensor
        ``(n, c, h, w)`` float32. The maps of an image without contrast become 0.
    """
    if not len(maps):
        return maps.float()
    flat = maps.float().flatten(1)
    n_images = int(image.max()) + 1
    low = segment_extreme(flat.amin(1), image, n_images, "amin")[image]  # (n,)
    span = segment_extreme(flat.amax(1), image, n_images, "amax")[image] - low  # (n,)
    scaled = 2 * (flat - low[:, None]) / span.clamp_min(1e-12)[:, None] - 1
    return torch.where(span[:, None] > 0, scaled, torch.zeros_like(scaled)).reshape(maps.shape)
