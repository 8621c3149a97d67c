"""Control cells as crops with masks, random pictures, and random numbers that can be drawn again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_amil.core.anomaly.reconstruction.network_training import Batch
from napari_amil.core.anomaly.scorer import CellInputs


@pytest.fixture
def control_cells() -> Callable[..., CellInputs]:
    """A function that makes pale-centred discs of varied size and colour, of three patients."""

    def made(n: int = 48, seed: int = 0, size: int = 32) -> CellInputs:
        rng = np.random.default_rng(seed)
        far = np.hypot(*np.meshgrid(*[np.arange(size) - size / 2] * 2))
        radius = rng.uniform(9, 11, (n, 1, 1)) * size / 32
        mask = far < radius
        colour = rng.normal(130, 6, (n, 3, 1, 1)) + 60 * (far < radius / 3)[:, None]
        pixels = np.where(mask[:, None], colour, 255.0)
        cells = np.concatenate([pixels, 255 * mask[:, None]], axis=1).astype(np.uint8)
        return CellInputs(pixels=cells, patients=np.array(["a", "b", "c"])[np.arange(n) % 3])

    return made


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """A function that makes a batch of random pictures."""

    def made(n: int, channels: int, size: int) -> Batch:
        generator = torch.Generator().manual_seed(5)
        return Batch(torch.rand(n, channels, size, size, generator=generator), torch.arange(n), generator)

    return made


class Draws:
    """Standard normal numbers that can be drawn again in the same order."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


@pytest.fixture
def draws() -> type[Draws]:
    """A source of standard normal numbers."""
    return Draws
