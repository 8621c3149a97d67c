"""Train encoder, attention, pooling and control Gaussian on bags in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian, cross_fit
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.anomaly.pooled import PooledDistance
from napari_amil.core.anomaly.scorer import CellScorer
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import EpochReport, Event, Step, Warned
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.loss import sic_weight
from napari_amil.core.mil.model import AmilModel, embed_all
from napari_amil.core.training.ranks import on_ranks
from napari_amil.core.training.state import ScorerTraining, TrainedEncoder
from napari_amil.core.training.steps import (
    CellViews,
    LabelledCells,
    cell_step,
    encoder_step,
    pooling_step,
    validate,
)
from napari_amil.core.training.units import weighed_controls
from napari_amil.core.training.validation_split import draw_bags, split_patients


@dataclass(frozen=True, eq=False)
class FittedModel:
    """Result of a training: network, control Gaussian and the history of epochs."""

    model: AmilModel
    gaussian: LatentGaussian
    held_out: Tensor
    """``(n_control,)`` distances of the control cells (`BagArrays.control_cells`) to Gaussians that were
    fitted without their patient; with a single patient to the one that was fitted to all."""
    history: tuple[EpochReport, ...]
    best_epoch: int
    """Epoch, counted from 0, whose weights were kept; -1 if none over bags was reached."""
    stopped: bool = False
    """Whether a stop was asked for before the last epoch."""
    pooled: PooledDistance | None = None
    """Makes d_n of several scores; None where the Gaussian alone does."""
    networks: Mapping[str, CellScorer] = field(default_factory=dict)
    """Networks that scored the cells for the pooling, fitted to all control cells."""


def fit_encoder(
    bags: BagArrays, settings: RunSettings, device: torch.device
) -> Generator[Event, None, dict[str, Tensor]]:
    """Train on single cells alone, and return the weights of encoder and single-instance classifier."""
    _check(bags)
    weights: dict[str, Tensor] = yield from on_ranks(settings.training, device, _fit_encoder, bags, settings)
    return weights


def _fit_encoder(
    device: torch.device, bags: BagArrays, settings: RunSettings
) -> Generator[Event, None, dict[str, Tensor]]:
    """Run `fit_encoder` in one of its processes."""
    state = ScorerTraining(bags, settings, device)
    train = bags.take(_sides(bags, settings)[0])
    while state.epoch < state.n_cell_epochs:
        yield from _cell_epoch(state, train)
    return state.encoder_weights()


def fit_model(
    bags: BagArrays,
    settings: RunSettings,
    device: torch.device,
    checkpoint: Path | None = None,
    encoder: TrainedEncoder | None = None,
    stop: Path | None = None,
) -> Generator[Event, None, FittedModel]:
    """Train on ``bags``, yield the progress, and return the fitted model.

    First the encoder learns from single cells with the labels of their bags; then attention, pooling
    and bag classifier (and with ``train_encoder_on_bags`` the encoder) from whole bags. Some patients
    of ``bags`` are held out to choose the epoch among the latter; nothing else decides. Then the
    control Gaussian is fitted to all control cells of ``bags`` and calibrated by leaving out one
    control patient after the other. If the file ``checkpoint`` exists the training goes on from
    there, and ends with the same weights as if it had not been interrupted. With a
    trained ``encoder`` (`fit_encoder`) the epochs over single cells are left out. If the file ``stop``
    appears, the epoch that runs is the last, and the best weights so far are kept.

    With several devices each has a process of its own, and the first of them writes and speaks. Where
    dropout is used as well, a training that goes on draws other units than one that was not interrupted.

    Raises
    ------
    AmilError
        If there is no control bag, only one class, or the loss is no longer finite.
    """
    _check(bags)
    fitted: FittedModel = yield from on_ranks(
        settings.training, device, _fit_model, bags, settings, checkpoint, encoder, stop
    )
    return fitted


def _fit_model(
    device: torch.device,
    bags: BagArrays,
    settings: RunSettings,
    checkpoint: Path | None,
    encoder: TrainedEncoder | None,
    stop: Path | None,
) -> Generator[Event, None, FittedModel]:
    """Run `fit_model` in one of its processes."""
    training = settings.training
    state = ScorerTraining(bags, settings, device)
    if checkpoint is not None and checkpoint.exists():
        state.read(checkpoint)
    elif encoder is not None:
        state.take_encoder(encoder)
    inside, outside = _sides(bags, settings)
    train, validation = bags.take(inside), bags.take(outside)
    if not len(validation):
        yield Warned("No patient is held out, so the last epoch is kept.")
    while not state.is_over:
        if state.epoch < state.n_cell_epochs:
            yield from _cell_epoch(state, train)
        elif state.n_cell_epochs and not training.train_encoder_on_bags:
            yield from _pooling_epochs(state, train, validation, lambda: state.end_epoch(checkpoint, stop))
            continue
        else:
            yield from _bag_epoch(state, train, validation)
        state.end_epoch(checkpoint, stop)
    if state.stopped:
        yield from _stop_warnings(state)
    yield Step("calibration", 0, 1, "Fitting the control Gaussian.")
    fitted = _finish(state, bags)
    yield state.control_histogram()
    return fitted


def _sides(bags: BagArrays, settings: RunSettings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the bags to learn from and of those that choose the epoch."""
    training = settings.training
    return split_patients(bags.labels, bags.patients, training.validation_fraction, training.seed)


def _cell_epoch(state: ScorerTraining, train: BagArrays) -> Generator[Event, None, None]:
    """Train one epoch on single cells."""
    training = state.settings.training
    cells = LabelledCells.from_bags(train, training)
    steps = list(cells.draw(training.cells_per_step, state.shared_generator()))
    state.model.train()
    losses = []
    for number, chosen in enumerate(steps):
        done = (state.epoch + number / len(steps)) / state.n_cell_epochs
        state.set_learning_rate(training.cell_learning_rate, done)
        losses.append(cell_step(state, train, cells, chosen))
        yield Step("training", number + 1, len(steps), f"Single cells, epoch {state.epoch + 1}")
    yield _report(state, losses, 1.0)


def _bag_epoch(
    state: ScorerTraining, train: BagArrays, validation: BagArrays
) -> Generator[Event, None, None]:
    """Train one epoch on bags, measure it, and keep its weights if they are the best."""
    training = state.settings.training
    epoch = state.epoch - state.n_cell_epochs
    if epoch % training.refit_every == 0:
        note = state.refit(train)
        if note and epoch == 0:
            yield Warned(note)
        yield state.control_histogram()
    order = draw_bags(torch.from_numpy(train.labels), state.shared_generator(), balance=training.bag_balance)
    steps = order.split(training.bags_per_step)
    beta = sic_weight(epoch, training.sic_decay) if state.settings.model.sic else 0.0
    share = LabelledCells.from_bags(train, training).share
    state.model.train()
    losses, of_bags = [], []
    for number, chosen in enumerate(steps):
        state.set_learning_rate(training.learning_rate, (epoch + number / len(steps)) / training.max_epochs)
        loss, bag_loss = encoder_step(state, train, chosen, beta, share)
        losses.append(loss)
        of_bags.append(bag_loss)
        yield Step("training", number + 1, len(steps), f"Bags, epoch {epoch + 1}")
    loss, accuracy = validate(state, validation)
    state.keep_if_best(loss)
    metrics = {"bag_loss": sum(of_bags) / len(of_bags), "validation_accuracy": accuracy}
    yield _report(state, losses, beta, loss, metrics)


def _pooling_epochs(
    state: ScorerTraining, train: BagArrays, validation: BagArrays, end_epoch: Callable[[], None]
) -> Generator[Event, None, None]:
    """Train attention, pooling and bag classifier on embeddings of an encoder that stays as it is."""
    training, first = state.settings.training, state.n_cell_epochs
    if state.epoch == first:
        note = state.refit(train)
        if note:
            yield Warned(note)
        yield state.control_histogram()
    views = yield from CellViews.from_bags(state, train, _n_augmented(state.settings))
    aside = yield from CellViews.from_bags(state, validation, 0)
    labels = torch.from_numpy(train.labels)
    state.model.train()
    while not state.is_over:
        epoch = state.epoch - first
        order = draw_bags(labels, state.shared_generator(), balance=training.bag_balance)
        steps = order.split(training.bags_per_step)
        losses = []
        for number, chosen in enumerate(steps):
            state.set_learning_rate(
                training.learning_rate, (epoch + number / len(steps)) / training.max_epochs
            )
            losses.append(pooling_step(state, train, views, chosen))
        loss, accuracy = validate(state, validation, aside)
        state.keep_if_best(loss)
        metrics = {"bag_loss": sum(losses) / len(losses), "validation_accuracy": accuracy}
        yield _report(state, losses, 0.0, loss, metrics)
        end_epoch()


def _n_augmented(settings: RunSettings) -> int:
    """Return the number of augmented views of a cell that differ from the cell as it is.

    A turned feature map has the mean embedding, over all orientations, that it had before.
    """
    model, training = settings.model, settings.training
    same = model.instance == "roi" and model.orientations == 8 and not model.measured
    return training.views if training.augment and not same else 0


def _report(
    state: ScorerTraining,
    losses: list[float],
    beta: float,
    validation_loss: float = math.nan,
    metrics: dict[str, float] | None = None,
) -> EpochReport:
    """Return the report of the epoch that ends, note it down, and move on to the next."""
    if not math.isfinite(sum(losses)):
        raise AmilError("The training loss is no longer finite; lower the learning rate.")
    train_loss = sum(losses) / len(losses)
    report = EpochReport(state.epoch, state.n_epochs, train_loss, validation_loss, beta, metrics or {})
    state.history.append(report)
    state.epoch += 1
    return report


def _stop_warnings(state: ScorerTraining) -> Iterator[Event]:
    """Yield warnings about a training that was stopped on request."""
    yield Warned(f"The training was stopped after {state.epoch} of {state.n_epochs} epochs, as was asked.")
    if not state.best_weights:
        yield Warned(
            "It had not yet learned from bags: attention, pooling and classes mean nothing, only the anomaly "
            "of cells does. Give the command again to go on."
        )


def _finish(state: ScorerTraining, bags: BagArrays) -> FittedModel:
    """Take the best weights, and fit and calibrate the Gaussian on all control cells."""
    if state.best_weights:
        state.model.load_state_dict(state.best_weights)
    state.refit(bags)
    model, seed = state.settings.model, state.settings.training.seed
    rows, patients, weights = weighed_controls(bags, alike=model.units_alike)
    latents = embed_all(state.model, bags.cells(rows), state.device)
    held_out = state.gaussian.distance(latents)
    if len(set(patients)) > 1:
        held_out = cross_fit(latents, parts_of_patients(patients), model, seed, weights)
    state.model.eval()
    return FittedModel(
        state.model,
        state.gaussian,
        held_out,
        tuple(state.history),
        state.best_epoch,
        state.stopped,
        state.pooled,
    )


def _check(bags: BagArrays) -> None:
    """Refuse bags that cannot be trained on, in words."""
    if not (bags.labels == bags.control_label).any():
        raise AmilError(
            f"No bag is of the control class '{bags.control}', so there is no control Gaussian; add some."
        )
    if not (bags.roles == bags.control_label).any():
        raise AmilError(
            f"No bag of the control class '{bags.control}' is a reference, so there is no control Gaussian; "
            "write control_reference 1 for some."
        )
    if (bags.labels < 0).any():
        raise AmilError("Some bags have no label; leave them out of the training.")
    if len(np.unique(bags.labels)) < 2:
        raise AmilError(
            f"All bags are of the class '{bags.control}'; training needs at least one other class."
        )
