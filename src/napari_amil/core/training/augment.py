"""Augmentation: turn, mirror and shift crops, and vary their stain, a batch at a time."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from napari_amil.core.mil.instances import Instances

SCALE = 0.08
"""Largest change of size, as a share; small, since size tells a microcyte from a normal cell."""
SHIFT = 0.05
"""Largest shift as a share of the crop's side."""
STAIN = 0.3
"""Standard deviation of the logarithm of the factor on the optical density of all channels."""
TINT = 0.1
"""The same for each channel by itself."""
NOISE = 0.3
"""Standard deviation of the noise on a measurement, in deviations of control cells."""
HIDDEN = 0.1
"""Share of the measurements that are treated as unknown."""


def augment(
    instances: Instances,
    kind: Literal["crop", "roi"],
    generator: torch.Generator,
    spread: Tensor | None = None,
) -> Instances:
    """Return crops or feature maps, whichever ``kind`` says, and measurements, augmented.

    Parameters
    ----------
    spread
        ``(n_measurements,)`` deviation of each measurement among control cells.
    """
    turn = augment_crops if kind == "crop" else augment_maps
    measured = instances.measurements
    if measured is not None and spread is not None:
        measured = augment_measurements(measured, spread, generator)
    return Instances(turn(instances.pixels, generator), measured)


def augment_crops(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Return crops ``(n, 3, size, size)``, 0 to 1, turned, mirrored, shifted and with altered stain.

    Parameters
    ----------
    crops
        ``(n, 3, size, size)`` uint8, or float 0 to 1. White is background and fills what a turn
        leaves empty.
    generator
        Source of all randomness, on the CPU.
    """
    x = crops.float() / 255.0 if crops.dtype == torch.uint8 else crops
    grid = F.affine_grid(_motions(len(x), generator).to(x), list(x.shape), align_corners=False)
    moved = 1.0 - F.grid_sample(1.0 - x, grid, padding_mode="zeros", align_corners=False)
    strength = STAIN * torch.randn(len(x), 1, 1, 1, generator=generator)
    tint = TINT * torch.randn(len(x), 3, 1, 1, generator=generator)
    return moved.clamp_min(1e-3) ** (strength + tint).exp().to(x)  # Beer-Lambert: density times a factor


def augment_maps(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return feature maps ``(n, c, h, w)``, each turned by quarters and mirrored at random."""
    choice = torch.randint(8, (len(maps),), generator=generator)
    out = torch.empty_like(maps)
    for number in choice.unique():
        rows = (choice == number).nonzero().flatten()
        turned = torch.rot90(maps[rows], int(number) % 4, (2, 3))
        out[rows] = turned.flip(3) if number >= 4 else turned
    return out


def augment_measurements(measurements: Tensor, spread: Tensor, generator: torch.Generator) -> Tensor:
    """Return measurements ``(n, n_measurements)`` with a little noise, and some of them unknown (NaN)."""
    noise = torch.randn(measurements.shape, generator=generator).to(measurements)
    hidden = (torch.rand(measurements.shape, generator=generator) < HIDDEN).to(measurements.device)
    return (measurements + NOISE * spread * noise).masked_fill(hidden, torch.nan)


def _motions(n: int, generator: torch.Generator) -> Tensor:
    """Return ``(n, 2, 3)`` affine maps: any angle, mirror, a little scale and shift."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    scale = 1 + SCALE * (2 * torch.rand(n, generator=generator) - 1)
    mirror = torch.randint(2, (n,), generator=generator) * 2.0 - 1.0
    shift = 2 * SHIFT * (2 * torch.rand(n, 2, generator=generator) - 1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack((cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]), dim=1)
    return rows.reshape(n, 2, 3)
