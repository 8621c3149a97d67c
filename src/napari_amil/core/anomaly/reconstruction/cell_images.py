"""Inputs of networks that redraw cells: crops without their surroundings, resampled, turned and mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from napari_amil.core.anomaly.reconstruction.network_settings import NetworkSettings

_MARGIN = 0.06
"""Surroundings of a cell that belong to it, as a share of the side of the crop: an outline is not exact."""


@dataclass(frozen=True, eq=False)
class CellImages:
    """Cells as a network sees them.

    Parameters
    ----------
    x
        ``(n, c, size, size)`` 0 to 1, background 1.
    region
        ``(n, size, size)`` weight of each pixel in a score, 0 to 1.
    known
        ``(n,)`` false for a cell without an outline, which has no score.
    """

    x: Tensor
    region: Tensor
    known: Tensor

    @classmethod
    def from_pixels(cls, pixels: Tensor, settings: NetworkSettings) -> CellImages:
        """Return the images of ``(n, 4, size, size)`` uint8 crops with masks."""
        values = pixels.float() / 255.0
        colour, mask = values[:, :3], values[:, 3:]
        reach = max(1, round(_MARGIN * pixels.shape[-1]))
        near = F.max_pool2d(mask, 2 * reach + 1, 1, reach)
        if settings.grey:
            colour = colour.mean(dim=1, keepdim=True)
        if settings.outside == "white":
            colour = 1.0 - near * (1.0 - colour)
        known = mask.amax(dim=(1, 2, 3)) > 0
        region = near if settings.region == "mask" else torch.ones_like(near)
        return cls(
            resampled(colour, settings.size_px).contiguous(memory_format=torch.channels_last),
            resampled(region, settings.size_px)[:, 0],
            known if settings.region == "mask" or settings.outside == "white" else torch.ones_like(known),
        )

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of values ``(n, size, size)`` over the region, ``(n,)``."""
        return (values * self.region).sum(dim=(1, 2)) / self.region.sum(dim=(1, 2)).clamp_min(1e-6)


def resampled(x: Tensor, size_px: int) -> Tensor:
    """Return pictures ``(n, c, h, w)`` with another side: averaged if smaller, interpolated if larger."""
    if x.shape[-1] == size_px:
        return x
    if x.shape[-1] > size_px:
        return F.interpolate(x, size=(size_px, size_px), mode="area")
    return F.interpolate(x, size=(size_px, size_px), mode="bilinear", align_corners=False)


def augmented(x: Tensor, settings: NetworkSettings, generator: torch.Generator) -> Tensor:
    """Return pictures ``(n, c, size, size)``, each turned, shifted, resized and mirrored at random.

    What a turn leaves empty becomes background, 1. The generator lies on the CPU.
    """
    n = len(x)
    angle = math.radians(settings.turn_deg) * (2 * torch.rand(n, generator=generator) - 1)
    scale = 1 + settings.zoom * (2 * torch.rand(n, generator=generator) - 1)
    shift = 2 * settings.shift * (2 * torch.rand(n, 2, generator=generator) - 1)
    mirror = torch.randint(2, (n,), generator=generator) * 2.0 - 1.0 if settings.mirror else torch.ones(n)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack((cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]), dim=1)
    grid = F.affine_grid(rows.reshape(n, 2, 3).to(x), list(x.shape), align_corners=False)
    moved = 1.0 - F.grid_sample(1.0 - x, grid, padding_mode="zeros", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last)
