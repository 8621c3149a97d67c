"""Base class of anomaly scores by networks that redraw a cell as a control cell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.cell_images import CellImages, resampled
from napari_amil.core.anomaly.reconstruction.maddr import domain_labels
from napari_amil.core.anomaly.reconstruction.network_settings import NetworkSettings, network_settings
from napari_amil.core.anomaly.reconstruction.network_training import (
    NetworkTraining,
    TrainingFiles,
    train_network,
)
from napari_amil.core.anomaly.reconstruction.perceptual import PerceptualNet, perceptual_net
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import Event
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats

_AT_ONCE = 64  # cells in one pass; bounds the memory


@dataclass(frozen=True, eq=False)
class Judged:
    """Output of a network for some cells.

    Parameters
    ----------
    score
        ``(n,)`` higher is more unusual.
    twin
        ``(n, c, size, size)`` the cells redrawn, 0 to 1.
    heat
        ``(n, size, size)`` difference from the twin, 0 or more.
    memory
        ``(n, c, size, size)`` the cells drawn from the nearest items of a memory alone; None without one.
    """

    score: Tensor
    twin: Tensor
    heat: Tensor
    memory: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Pictures of why cells are unusual, in the size of their crops.

    Parameters
    ----------
    twin
        ``(n_cells, size, size, 3)`` uint8 pseudo-healthy twin of each cell.
    heat
        ``(n_cells, size, size)`` float32 difference from the twin inside the region of the score, as the mean
        over the colours of 0 to 1; NaN for a cell without an outline.
    memory
        ``(n_cells, size, size, 3)`` uint8 nearest memory items; None for models without a memory.
    """

    twin: NDArray[np.uint8]
    heat: NDArray[np.float32]
    memory: NDArray[np.uint8] | None = None


class ReconstructionScorer(CellScorer):
    """Score of cells by a network that learned to redraw control cells.

    A subclass names its presets and says how networks are built (`build`), trained (`training_of`) and asked
    (`judge`).

    Parameters
    ----------
    settings
        Settings of the model; ``networks`` holds what differs from the preset.
    """

    reads = "pixels"
    stays = True
    name: ClassVar[str]
    """Name in ``model.channels`` and ``model.networks``."""
    presets: ClassVar[Mapping[str, NetworkSettings]]

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.network = network_settings(self.name, self.presets, settings.networks.get(self.name, {}))
        self.files = TrainingFiles()
        self.net = self.build().to(memory_format=torch.channels_last)
        self.eval()

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the networks that scoring needs, with random weights."""

    @abstractmethod
    def training_of(self, net: nn.Module) -> NetworkTraining:
        """Return the training of the networks."""

    @abstractmethod
    def judge(self, cells: CellImages) -> Judged:
        """Return score, twin and difference of some cells, each independent of the others."""

    def prepare(self, images: Tensor) -> None:
        """Fit statistics that the training needs; ``images`` are ``(n, c, size, size)`` uint8."""

    def fit(self, controls: CellInputs, seed: int, device: torch.device) -> Generator[Event, None, None]:
        """Train the networks on control cells.

        Raises
        ------
        AmilError
            If there are fewer than 20 cells with an outline, or the loss is no longer finite.
        """
        images, rows = self._images(controls)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = self.build().to(memory_format=torch.channels_last)
            training = self.training_of(self.net)
        self.to(device)
        if len(images):
            self.prepare(images)
        if self.network.domains and len(images):
            domains = {factor: values[rows] for factor, values in controls.domains.items()}
            labels = yield from domain_labels(domains, self.network.domains)
            if labels:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    training.cpu().constrain(labels, images[:2].float() / 255.0)
        training.to(device)
        yield from train_network(self.name, training, images, seed, self.files)
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def _images(self, controls: CellInputs) -> tuple[Tensor, NDArray[np.int64]]:
        """Return the whole control cells with an outline as ``(n, c, size, size)`` uint8, and their rows."""
        assert controls.pixels is not None
        whole, known = np.flatnonzero(controls.whole), [np.empty(0, dtype=bool)]
        size = self.network.size_px
        parts = [torch.empty(0, self.network.channels, size, size).byte()]
        for part in torch.from_numpy(controls.pixels[whole]).split(1024):
            cells = CellImages.from_pixels(part, self.network)
            parts.append((255 * cells.x[cells.known]).round().byte())
            known.append(cells.known.numpy())
        return torch.cat(parts), whole[np.concatenate(known)]

    def score(self, cells: CellInputs) -> Floats:
        """Return the score of each cell ``(n_cells,)``; NaN for a cell without an outline."""
        found = np.full(len(cells), np.nan)
        if cells.pixels is None:
            return found
        for start, images, judged in self._judged(cells.pixels):
            values = judged.score.double().masked_fill(~images.known, torch.nan)
            found[start : start + len(values)] = values.cpu().numpy()
        return found

    def redraw(self, cells: CellInputs) -> Redrawn:
        """Return twin and difference of each cell."""
        assert cells.pixels is not None
        size = cells.pixels.shape[-1]
        twins, heats, memories = [], [], []
        for _, images, judged in self._judged(cells.pixels):
            twins.append(_pictures(judged.twin, size))
            heat = (judged.heat * images.region)[:, None].masked_fill(
                ~images.known[:, None, None, None], np.nan
            )
            heats.append(resampled(heat, size)[:, 0].float().cpu().numpy())
            memories += [] if judged.memory is None else [_pictures(judged.memory, size)]
        empty = np.empty((0, size, size, 3), dtype=np.uint8)
        cold = np.empty((0, size, size), dtype=np.float32)
        memory = np.concatenate(memories) if memories else None
        return Redrawn(np.concatenate([empty, *twins]), np.concatenate([cold, *heats]), memory)

    @torch.inference_mode()
    def _judged(self, pixels: NDArray[np.uint8]) -> Generator[tuple[int, CellImages, Judged], None, None]:
        """Yield the first row of each part of the cells, the cells, and the network's output for them."""
        self.eval()
        device = next(self.net.parameters()).device
        for start in range(0, len(pixels), _AT_ONCE):
            part = torch.from_numpy(pixels[start : start + _AT_ONCE]).to(device)
            images = CellImages.from_pixels(part, self.network)
            yield start, images, self.judge(images)


class PerceptualScorer(ReconstructionScorer):
    """A score that compares features of a frozen network (`PerceptualNet`).

    Parameters
    ----------
    settings
        Settings of the model.
    perceptual
        The network; None for the one that the settings name.
    """

    perceptual: PerceptualNet

    def __init__(self, settings: ModelSettings, perceptual: PerceptualNet | None = None) -> None:
        super().__init__(settings)
        source = self.network.perceptual
        self.source = source if perceptual is None else perceptual.kind
        self.add_module("perceptual", perceptual_net(source) if perceptual is None else perceptual)
        self.eval()

    def prepare(self, images: Tensor) -> None:
        """Take mean and deviation of the features from the control cells."""
        self.perceptual.fit(images)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: ModelSettings) -> Self:
        """Return the scorer whose ``state_dict`` was ``state``; a file of weights is not read again."""
        prefix = "perceptual."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        scorer = cls(settings, PerceptualNet.from_state(own))
        scorer.load_state_dict(dict(state))
        return scorer


def _pictures(x: Tensor, size_px: int) -> NDArray[np.uint8]:
    """Return ``(n, size, size, 3)`` uint8 of pictures ``(n, c, s, s)``, 0 to 1."""
    colour = resampled(x.float().clamp(0, 1), size_px).expand(-1, 3, -1, -1)
    return np.ascontiguousarray((255 * colour).round().byte().permute(0, 2, 3, 1).cpu().numpy())
