"""Training of networks on control cells: one loop for all models, with checkpoint, stop and events."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.cell_images import augmented
from napari_amil.core.anomaly.reconstruction.maddr import DomainConstraint
from napari_amil.core.anomaly.reconstruction.network_settings import NetworkSettings
from napari_amil.core.base.checkpoint import (
    flatten_optimiser,
    read_checkpoint,
    restore_optimiser,
    under_prefix,
    with_prefix,
    write_checkpoint,
)
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import EpochReport, Event, Step, Warned

_FEWEST_CELLS = 20


@dataclass(frozen=True)
class TrainingFiles:
    """Files of a training.

    Parameters
    ----------
    checkpoint
        Written after each epoch; a training goes on from it.
    stop
        If it appears the epoch that runs is the last.
    """

    checkpoint: Path | None = None
    stop: Path | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Cells of one optimiser step.

    Parameters
    ----------
    x
        ``(n, c, size, size)`` augmented, 0 to 1.
    rows
        ``(n,)`` rows among the control cells.
    generator
        Source of all randomness, on the CPU.
    mixed
        Rows of the cells that were mixed into these, and the share of these; None if none were.
    """

    x: Tensor
    rows: Tensor
    generator: torch.Generator
    mixed: tuple[Tensor, float] | None = None

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers on the device of the cells."""
        return torch.randn(*shape, generator=self.generator).to(self.x)


class NetworkTraining(nn.Module, ABC):
    """The networks of one model while they learn, and their optimisers.

    Parameters
    ----------
    settings
        Settings of the network.
    """

    encoder_optimiser: ClassVar[str] = "net"
    """Name of the optimiser that trains the encoder."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.domains: DomainConstraint | None = None

    @abstractmethod
    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Take optimiser step ``number`` (from 0) and return losses by name; ``loss`` is the main one."""

    @abstractmethod
    def latent(self, x: Tensor) -> Tensor:
        """Return the codes ``(n, k)`` or ``(n, k, h, w)`` of pictures 0 to 1."""

    def constrain(self, labels: Mapping[str, NDArray[np.int64]], x: Tensor) -> None:
        """Let parts of the code tell the domains of the cells; ``x`` are some of them."""
        self.eval()
        with torch.no_grad():
            code_dim = self.latent(x).shape[1]
        self.domains = DomainConstraint(labels, self.settings, code_dim)
        self.optimisers["heads"] = torch.optim.Adam(self.domains.parameters(), self.settings.learning_rate)

    def constraint(self, z: Tensor, batch: Batch) -> Tensor:
        """Return the loss of the domains; 0 without them."""
        if self.domains is None:
            return z.new_zeros(())
        found: Tensor = self.domains(z, batch.rows, batch.mixed)
        return found

    def constraint_parts(self, constraint: Tensor) -> dict[str, Tensor]:
        """Return the loss of the domains as one to report; nothing without them."""
        return {} if self.domains is None else {"domains": constraint.detach()}

    def descend(self, name: str, loss: Tensor) -> None:
        """Take one step of an optimiser; that of the encoder takes the heads of the domains along."""
        along = ["heads"] if name == self.encoder_optimiser and self.domains is not None else []
        chosen = [self.optimisers[one] for one in (name, *along)]
        for optimiser in chosen:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in chosen:
            optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and moments for a checkpoint."""
        found = with_prefix("weights", dict(self.state_dict()))
        for name, optimiser in self.optimisers.items():
            found |= with_prefix(f"optimiser-{name}", flatten_optimiser(optimiser))
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`."""
        self.load_state_dict(under_prefix("weights", tensors))
        for name, optimiser in self.optimisers.items():
            restore_optimiser(optimiser, under_prefix(f"optimiser-{name}", tensors))


def frozen(module: nn.Module, *, yes: bool) -> None:
    """Let the weights of a module rest, or learn again."""
    for parameter in module.parameters():
        parameter.requires_grad_(not yes)


def train_network(
    name: str,
    training: NetworkTraining,
    images: Tensor,
    seed: int,
    files: TrainingFiles,
) -> Generator[Event, None, None]:
    """Train on control cells and report every epoch.

    A training that goes on from its checkpoint ends with the weights that it would have had: every epoch
    has a seed of its own.

    Parameters
    ----------
    name
        Name of the score, for messages.
    images
        ``(n_cells, c, size, size)`` uint8 control cells, on the CPU.

    Raises
    ------
    AmilError
        If there are fewer than 20 cells, or the loss is no longer finite.
    """
    settings, n_cells = training.settings, len(images)
    if n_cells < _FEWEST_CELLS:
        raise AmilError(
            f"The anomaly score '{name}' needs {_FEWEST_CELLS} control cells with an outline or more, not "
            f"{n_cells}; add some."
        )
    n_epochs, epoch = epochs_of(settings, n_cells), 0
    if files.checkpoint is not None and files.checkpoint.exists():
        tensors, record = read_checkpoint(files.checkpoint)
        training.restore(tensors)
        epoch = int(record["epoch"])
    while epoch < n_epochs:
        training.train()
        yield from _epoch(name, training, images, seed, (epoch, n_epochs))
        epoch += 1
        if files.checkpoint is not None:
            write_checkpoint(files.checkpoint, training.tensors(), {"epoch": epoch})
        if files.stop is not None and files.stop.exists() and epoch < n_epochs:
            yield Warned(f"'{name}' was stopped after {epoch} of {n_epochs} epochs, as was asked.")
            break
    training.eval()


def _steps_per_epoch(settings: NetworkSettings, n_cells: int) -> int:
    return max(1, n_cells // settings.batch_size)


def epochs_of(settings: NetworkSettings, n_cells: int) -> int:
    """Return the number of epochs over some cells."""
    return min(settings.epochs, math.ceil(settings.steps / _steps_per_epoch(settings, n_cells)))


def _epoch(
    name: str, training: NetworkTraining, images: Tensor, seed: int, progress: tuple[int, int]
) -> Generator[Event, None, None]:
    """Train one epoch; ``progress`` is its number and that of all. The last cells may be left out."""
    settings, (epoch, n_epochs) = training.settings, progress
    generator = torch.Generator().manual_seed(_seed_of(seed, epoch))
    device = next(training.parameters()).device
    per_epoch = _steps_per_epoch(settings, len(images))
    order = torch.randperm(len(images), generator=generator)[: per_epoch * settings.batch_size]
    sums: dict[str, float] = {}
    for number, rows in enumerate(order.split(settings.batch_size)):
        x = augmented(images[rows].to(device).float() / 255.0, settings, generator)
        batch = Batch(x, rows, generator)
        if settings.mixup and training.domains is not None:
            batch = _mixed(batch)
        losses = training.step(batch, epoch * per_epoch + number)
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + float(value) / per_epoch
        yield Step("training", number + 1, per_epoch, f"{name}, epoch {epoch + 1} of {n_epochs}")
    if not all(map(math.isfinite, sums.values())):
        raise AmilError(f"The training loss of '{name}' is no longer finite; lower its learning rate.")
    loss = sums.pop("loss")
    yield EpochReport(epoch, n_epochs, loss, metrics={f"{name}_{key}": value for key, value in sums.items()})


def _mixed(batch: Batch) -> Batch:
    """Return a batch of which each picture is a mean of two, with a share from 0 to 1 (Beta(1, 1))."""
    share = float(torch.rand(1, generator=batch.generator))
    other = torch.randperm(len(batch.x), generator=batch.generator)
    x = share * batch.x + (1 - share) * batch.x[other.to(batch.x.device)]
    return Batch(x, batch.rows, batch.generator, (batch.rows[other], share))


def _seed_of(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:7], "big")
