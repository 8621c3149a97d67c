"""Optimiser steps on single cells and on whole bags, and validation."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.pooled import PooledDistance
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.settings import TrainingSettings
from napari_amil.core.mil.batch import BagArrays, segment_of
from napari_amil.core.mil.loss import amil_loss, bag_loss, control_share, hypersphere_loss, sic_loss
from napari_amil.core.mil.model import AmilModel, AmilOutput, embed_all
from napari_amil.core.mil.topology import bags_topological_loss, topological_loss
from napari_amil.core.training.state import ScorerTraining

_CHUNK = 256  # cells augmented and embedded at once


@dataclass(frozen=True, eq=False)
class CellViews:
    """Embeddings and distances of every cell of some bags, as it is and augmented.

    Parameters
    ----------
    latents
        ``(n_views, n_cells, k)``; the first view is the cell as it is.
    distances
        ``(n_views, n_cells)``
    position
        ``(n_instances,)`` where a stored instance stands in the above; -1 where it does not.
    """

    latents: Tensor
    distances: Tensor
    position: NDArray[np.int64]

    @classmethod
    def from_bags(
        cls, state: ScorerTraining, bags: BagArrays, n_augmented: int
    ) -> Generator[Event, None, CellViews]:
        """Return the views of all cells of ``bags`` under the present encoder and Gaussian.

        The random numbers are their own, so that a training that goes on makes the same views.
        """
        generator = torch.Generator().manual_seed(state.settings.training.seed)
        used, position = bags.used()
        instances = bags.cells(used)
        total = (1 + n_augmented) * len(instances)
        if total:
            yield Step("embedding", 0, total, "Embedding every cell as it is.")
        views = [embed_all(state.model, instances, state.device)]
        for number in range(1, n_augmented + 1):
            parts: list[Tensor] = []
            for part in instances.split(_CHUNK):  # float pixels of all cells would fill the memory
                turned = state.augmented(part, generator)
                with state.engine.precision():
                    parts.append(embed_all(state.model, turned, state.device).float())
                done = number * len(instances) + sum(map(len, parts))
                yield Step("embedding", done, total, "Embedding every cell augmented.")
            views.append(torch.cat(parts))
        latents = torch.stack([z.mean(dim=1) for z in views])
        scores = bags.scores_at(used)
        return cls(latents, torch.stack([state.pooling_distance(z, scores) for z in views]), position)

    def draw(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return ``z (n_cells, k)`` and ``d (n_cells,)`` of one view of each cell at random."""
        at = torch.from_numpy(self.position[rows])
        view = torch.randint(len(self.latents), (len(at),), generator=generator)
        return self.latents[view, at], self.distances[view, at]

    def plain(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return ``z (n_cells, k)`` and ``d (n_cells,)`` of the cells as they are."""
        at = torch.from_numpy(self.position[rows])
        return self.latents[0, at], self.distances[0, at]


def encoder_step(
    state: ScorerTraining, bags: BagArrays, chosen: Tensor, beta: float, share: float
) -> tuple[float, float]:
    """Take one optimiser step, encoder included, on the ``chosen`` bags.

    Returns
    -------
    tuple
        The loss, and its part that is the loss of bags.
    """
    model, settings, device = state.model, state.settings, state.device
    chosen = state.engine.own(chosen)
    batch = bags.batch(chosen.numpy())
    instances, lengths = batch.instances.to(device), batch.lengths.to(device)
    labels = torch.from_numpy(bags.labels)[chosen].to(device)
    scores = bags.scores_at(np.concatenate(bags.take(chosen.numpy()).rows))
    if settings.training.augment:
        instances = state.augmented(instances, state.generator)

    def losses() -> tuple[Tensor, Tensor]:
        z = state.embed(instances)  # (n_cells, k)
        d = state.pooling_distance(z, scores)  # (n_cells,), without a gradient
        output = model.aggregate(z, lengths, d, batch.covariates)
        kind, experts = settings.training.loss, settings.training.expert_loss
        loss = amil_loss(output, labels, lengths, beta, kind, experts)
        if settings.training.hypersphere_weight:
            control = (labels == bags.control_label)[segment_of(lengths)].to(z)
            closeness = hypersphere_loss(model.learned(z), control, share, model.columns)
            loss = loss + beta * settings.training.hypersphere_weight * closeness
        if settings.training.topology_weight:
            apart = bags_topological_loss(instances.pixels, model.learned(z), lengths)
            loss = loss + settings.training.topology_weight * apart
        return loss, bag_loss(output, labels, settings.training.loss).detach()

    loss, of_bags = state.descend(losses)
    return loss, of_bags


def pooling_step(state: ScorerTraining, bags: BagArrays, views: CellViews, chosen: Tensor) -> float:
    """Take one optimiser step on attention, pooling and bag classifier alone and return its loss."""
    device = state.device
    part = bags.take(state.engine.own(chosen).numpy())
    z, d = views.draw(np.concatenate(part.rows), state.generator)
    labels = torch.from_numpy(part.labels).to(device)

    def losses() -> tuple[Tensor]:
        bags_of_step = z.to(device), part.lengths.to(device), d.to(device), part.covariates
        output = state.model.aggregate(*bags_of_step)
        training = state.settings.training
        return (bag_loss(output, labels, training.loss, training.expert_loss),)

    return state.descend(losses)[0]


def score_bags(
    model: AmilModel,
    gaussian: LatentGaussian,
    bags: BagArrays,
    device: torch.device,
    measurements: NDArray[np.floating] | None = None,
    pooled: PooledDistance | None = None,
) -> tuple[AmilOutput, Tensor]:
    """Return the output for all bags and the distances ``d_n (n_cells,)``, in evaluation.

    Every stored cell is embedded once, in however many bags it is.

    Parameters
    ----------
    measurements
        ``(n_cells, m)`` of the cells, bag after bag; a model whose bag profile is fitted needs them.
    pooled
        Makes d_n of the distances to the Gaussian and the scores of the bags; None leaves the former.

    Raises
    ------
    ValueError
        If the model has a fitted bag profile and there are no measurements.
    """
    if measurements is None and model.profile is not None and model.profile.share > 0:
        raise ValueError("This model has a bag profile, which needs the measurements of the cells.")
    used, position = np.unique(np.concatenate(bags.rows), return_inverse=True)
    z = embed_all(model, bags.cells(used), device)  # (n_used, n_views, k)
    d = gaussian.distance(z)  # (n_used,)
    if pooled is not None:
        d = pooled(d, bags.scores_at(used))
    placed = z.mean(dim=1)[position], d[position], bags, device
    return aggregate(model, *placed, measurements), d[position]


def validate(state: ScorerTraining, bags: BagArrays, views: CellViews | None = None) -> tuple[float, float]:
    """Return bag loss and accuracy in evaluation; NaN without bags. No weight changes.

    Parameters
    ----------
    views
        Embeddings that were made before; without them the cells are embedded now.
    """
    if not len(bags):
        return math.nan, math.nan
    if views is None:
        output, _distances = score_bags(state.model, state.gaussian, bags, state.device, pooled=state.pooled)
    else:
        z, d = views.plain(np.concatenate(bags.rows))
        output = aggregate(state.model, z, d, bags, state.device)
    logits, labels = output.logits.cpu(), torch.from_numpy(bags.labels)
    loss = float(F.cross_entropy(logits, labels))
    if not math.isfinite(loss):
        raise AmilError("The validation loss is no longer finite; lower the learning rate.")
    return loss, float((logits.argmax(1) == labels).double().mean())


@torch.no_grad()
def aggregate(
    model: AmilModel,
    z: Tensor,
    d: Tensor,
    bags: BagArrays,
    device: torch.device,
    measurements: NDArray[np.floating] | None = None,
) -> AmilOutput:
    """Return the output for embeddings and distances in the order of the rows of all bags."""
    training = model.training
    model.eval()
    placed = z.to(device), bags.lengths.to(device), d.to(device), bags.covariates
    measured = None if measurements is None else torch.from_numpy(np.asarray(measurements, dtype=np.float32))
    output = model.aggregate(*placed, measured)
    model.train(training)
    return output


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
    def from_bags(cls, bags: BagArrays, settings: TrainingSettings) -> LabelledCells:
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


def cell_step(state: ScorerTraining, bags: BagArrays, cells: LabelledCells, chosen: Tensor) -> float:
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
        if settings.training.topology_weight:
            loss = loss + settings.training.topology_weight * topological_loss(instances.pixels, z)
        return (loss,)

    return state.descend(losses)[0]
