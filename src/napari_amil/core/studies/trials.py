"""Trials of a study: one training and its test each, and the file with the predictions."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_amil.core.base.checkpoint import read_checkpoint, write_checkpoint
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.evaluation.ablation import BASELINE, encoder_stage
from napari_amil.core.evaluation.measurement_baseline import bag_features, baseline_probabilities
from napari_amil.core.evaluation.predictions import Predictions, predict
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.studies.cells import StudyCells, open_cells
from napari_amil.core.training.cross_fitting import CrossFitted, fit_anomaly, fit_anomaly_to_seen_cells
from napari_amil.core.training.loop import FittedModel, fit_encoder, fit_model
from napari_amil.core.training.pooling_scores import with_pooling_scores
from napari_amil.core.training.profile_fit import fit_profile
from napari_amil.core.training.state import TrainedEncoder
from napari_amil.core.training.units import independent_units

ENCODER = "encoder"
"""Kind of a unit of work that trains an encoder for several rows."""


@dataclass(frozen=True)
class Trial:
    """One training and its test: a row of a table in one fold of one run.

    Parameters
    ----------
    row, fold, run
        Its place.
    settings
        With the seed of this fold and run.
    cells
        Folder of the cells (`napari_amil.core.pipeline.study_cells`).
    result
        File for the predictions.
    encoder
        File for the weights of the first stage, if other trials may share it.
    unseen
        A class that the training must not see; its bags are only tested.
    """

    row: str
    fold: int
    run: int
    settings: RunSettings
    cells: Path
    result: Path
    encoder: Path | None
    unseen: str | None = None

    @property
    def place(self) -> str:
        """Fold and run in words."""
        return f"fold {self.fold}, run {self.run + 1}"

    def read(self) -> Predictions:
        """Return the predictions that were written."""
        return Predictions.of_tensors(read_checkpoint(self.result)[0])


@dataclass(frozen=True, eq=False)
class Group:
    """Trials on the same bags that share one trained encoder, or a single one that shares none.

    Parameters
    ----------
    trials
        Trials to run.
    classes, control
        Classes of the cohort, and which is the control.
    train, test
        Numbers of the bags.
    copies
        Images of the training bags that are images of the test bags, too.
    """

    trials: tuple[Trial, ...]
    classes: tuple[str, ...]
    control: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    copies: tuple[str, ...] = ()

    @property
    def encoder(self) -> Path | None:
        """File for the weights of the shared first stage."""
        return self.trials[0].encoder

    def units(self) -> list[str]:
        """Return the kinds of work that are left."""
        first = [ENCODER] if self.encoder is not None and not self.encoder.exists() else []
        return first + [trial.row for trial in self.trials]

    def sides(self, cells: StudyCells) -> tuple[BagArrays, BagArrays]:
        """Return training and test bags with the classes that the training knows."""
        bags = cells.seen_by(self.trials[0].settings)
        train, test = bags.take(self.train), bags.take(self.test)
        if self.copies:
            train = _without_cells(train, np.isin(cells.images, self.copies))
        unseen = self.trials[0].unseen
        if unseen is None:
            return train, test
        number = self.classes.index(unseen)
        train = train.take(np.flatnonzero(train.labels != number))
        return _renumbered(train, self.classes, number), _renumbered(test, self.classes, number)


def _without_cells(bags: BagArrays, gone: NDArray[np.bool_]) -> BagArrays:
    """Return the bags without some of the stored cells; a bag that loses all of them is left out."""
    rows = [own[~gone[own]] for own in bags.rows]
    kept = [number for number, own in enumerate(rows) if len(own)]
    return replace(bags.take(kept), rows=tuple(rows[number] for number in kept))


def _renumbered(bags: BagArrays, classes: Sequence[str], missing: int) -> BagArrays:
    """Return bags whose labels count the classes without ``missing``; its own bags get -1."""
    order = np.insert(np.arange(len(classes) - 1), missing, -1)
    kept = tuple(name for name in classes if name != classes[missing])
    return replace(bags, labels=order[bags.labels], classes=kept)


@dataclass(frozen=True)
class Unit:
    """One piece of work of a group begins, or is done."""

    kind: str
    label: str
    done: bool = False


TrialEvent = Event | Unit


def work_on(group: Group, device: str) -> Generator[TrialEvent, None, None]:
    """Train and test every trial of a group; one that fails stops no other."""
    cells = open_cells(group.trials[0].cells, group.classes, group.control)
    train, test = group.sides(cells)
    units = independent_units(train, cells.images)
    train = replace(train, units=units)
    encoder = yield from _shared_encoder(group, train, torch.device(device))
    for trial in group.trials:
        label = f"{trial.row}, {trial.place}"
        yield Unit(trial.row, label)
        checkpoint = None if encoder else trial.result.with_suffix(".checkpoint")
        try:
            if trial.row == BASELINE:
                predictions = _without_network(cells, train, test, trial.settings.training.seed)
            else:
                place = trial.settings, torch.device(device)
                known, networks = yield from with_pooling_scores(train, cells.inputs, *place)
                fitted = yield from fit_model(known, *place, checkpoint, encoder)
                fitted = replace(fitted, networks=networks)
                predictions = yield from _predicted(trial, cells, fitted, (known, units), test)
        except AmilError as error:
            yield Failed(label, f"{label}: {error}")
        else:
            record = {"row": trial.row, "settings": trial.settings.model_dump(mode="json")}
            write_checkpoint(trial.result, predictions.tensors(), record)
            yield Unit(trial.row, label, done=True)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)


def _predicted(
    trial: Trial,
    cells: StudyCells,
    fitted: FittedModel,
    known: tuple[BagArrays, NDArray[np.str_]],
    test: BagArrays,
) -> Generator[Event, None, Predictions]:
    """Fit the anomaly model around a trained network and return the predictions for the test bags."""
    device, (train, units) = next(fitted.model.parameters()).device, known
    if trial.unseen is None:
        fit_profile(fitted.model, train, cells.inputs.measurements, units)
        work = fit_anomaly_to_seen_cells(train, fitted, trial.settings, device, cells.inputs)
        crossed = CrossFitted((yield from work))
    else:
        crossed = yield from fit_anomaly(train, units, fitted, trial.settings, device, cells.inputs)
    inputs = cells.inputs.take(np.concatenate(test.rows))
    return predict(fitted, crossed.anomaly, test, device, inputs, crossed.classes)


def _without_network(cells: StudyCells, train: BagArrays, test: BagArrays, seed: int) -> Predictions:
    """Return the class probabilities that the named measurements of the test bags alone give."""
    measured = cells.inputs.measurements
    if measured is None:
        raise AmilError("The cells were not measured, so there is nothing to compare their bags by.")
    features = bag_features(measured, train.rows), bag_features(measured, test.rows)
    probabilities = baseline_probabilities(features[0], train.labels, features[1], len(train.classes), seed)
    lengths = test.lengths.numpy()
    return Predictions(probabilities, lengths, np.full(int(lengths.sum()), np.nan), {})


def _shared_encoder(
    group: Group, train: BagArrays, device: torch.device
) -> Generator[TrialEvent, None, TrainedEncoder | None]:
    """Return the encoder that the trials of a group start from, trained now or before; None without one."""
    settings = encoder_stage(group.trials[0].settings)
    if group.encoder is None or settings is None:
        return None
    if not group.encoder.exists():
        label = f"{ENCODER}, {group.trials[0].place}"
        yield Unit(ENCODER, label)
        weights = yield from fit_encoder(train, settings, device)
        write_checkpoint(group.encoder, weights, {"settings": settings.model_dump(mode="json")})
        yield Unit(ENCODER, label, done=True)
    return TrainedEncoder(read_checkpoint(group.encoder)[0])
