"""Train the encoder on single cells with the labels of their bags, before any bag is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_amil.core.base.settings import TrainingSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.loss import control_share, hypersphere_loss, sic_loss
from napari_amil.core.training.state import TrainingState


@dataclass(frozen=True, eq=False)
class LabelledCells:
    """Every cell of the training bags once, with the labels of all its bags.

    Parameters
    ----------
    rows
        ``(n_cells,)`` rows of the instances.
    weight
        ``(n_cells,)`` how often the cell is to be drawn.
    targets
        ``(n_cells, n_classes)`` float32 share of its bags in each class; rows sum to 1.
    control
        Number of the control class.
    share
        `napari_amil.core.mil.loss.control_share` as the cells are drawn.
    """

    rows: Tensor
    weight: Tensor
    targets: Tensor
    control: int
    share: float

    @classmethod
    def of(cls, bags: BagArrays, settings: TrainingSettings) -> LabelledCells:
        """Return the cells of ``bags``; balanced, every class is drawn equally often."""
        counts = np.zeros((len(bags.instances), len(bags.classes)))
        for rows, label in zip(bags.rows, bags.labels, strict=True):
            np.add.at(counts, (rows, label), 1.0)
        if settings.balance_classes:
            counts /= np.maximum(counts.sum(axis=0), 1.0)
        rows = np.flatnonzero(counts.sum(axis=1))
        weight = counts[rows].sum(axis=1)
        share = control_share(torch.from_numpy(counts.sum(axis=0) / counts.sum()), bags.control_label)
        targets = torch.from_numpy(counts[rows] / weight[:, None]).float()
        return cls(torch.from_numpy(rows), torch.from_numpy(weight), targets, bags.control_label, share)

    def draw(self, n_per_step: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the numbers of the cells of each step of one epoch: as many draws as there are cells."""
        drawn = torch.multinomial(self.weight, len(self.rows), replacement=True, generator=generator)
        n_steps = max(1, round(len(drawn) / n_per_step))
        yield from drawn.tensor_split(n_steps)


def cell_step(state: TrainingState, bags: BagArrays, cells: LabelledCells, chosen: Tensor) -> float:
    """Take one optimiser step on the ``chosen`` cells and return its loss."""
    model, settings = state.model, state.settings
    chosen = state.engine.own(chosen)
    instances = bags.cells(cells.rows[chosen].numpy()).to(state.device)
    if settings.training.augment:
        instances = state.augmented(instances, state.generator)
    targets = cells.targets[chosen].to(state.device)  # (n_cells, n_classes)

    def losses() -> tuple[Tensor]:
        z = model.learned(state.embed(instances))  # (n_cells, k)
        loss = z.new_zeros(())
        if model.sic_head is not None:
            loss = loss + sic_loss(model.sic_head(z), targets, settings.training.loss)
        if settings.training.hypersphere_weight:
            closeness = hypersphere_loss(z, targets[:, cells.control], cells.share, model.columns)
            loss = loss + settings.training.hypersphere_weight * closeness
        return (loss,)

    return state.descend(losses)[0]
