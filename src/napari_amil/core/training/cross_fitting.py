"""Anomaly model of a training, calibrated by control cells that networks and channels did not see."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.channels import LATENT
from napari_amil.core.anomaly.cross_fit import (
    cross_fit_channels,
    empty_boxes,
    fit_quietly,
    held_out_scores,
)
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.novelty import EmbeddedBags
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.events import EpochReport, Event, Result, Step, translated
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Floats
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import sizes_of
from napari_amil.core.mil.model import AmilModel, embed_all
from napari_amil.core.training.loop import FittedModel, fit_encoder, fit_model
from napari_amil.core.training.units import split_units

_PARTS = 5  # parts that are held out where no network is trained without them
_FEWEST_CELLS = 5  # of a bag that keeps cells in training; with fewer it represents nothing


def fit_anomaly(
    bags: BagArrays,
    units: NDArray[np.str_],
    fitted: FittedModel,
    settings: RunSettings,
    device: torch.device,
    inputs: CellInputs | None = None,
) -> Generator[Event, None, AnomalyModel]:
    """Fit the anomaly model to all bags, and calibrate it part by part on units that were held out.

    With ``training.calibration_folds`` of 2 or more a network is trained without each part, and what it
    has not seen stands for what the final network will not have seen (cross-conformal prediction, Vovk
    2015, with one network in place of several at the end). Otherwise only the channels and the classes
    are fitted anew, and since the encoder has seen the cells, p-values come out smaller than they should.

    Parameters
    ----------
    units
        ``(n_instances,)`` from `napari_amil.core.training.units.independent_units`.
    fitted
        The model of all bags.
    inputs
        What the channels read of the stored cells beside their embedding; None where nothing is known.
    """
    control = bags.control_cells()[0]
    cells = _EmbeddedCells.by(fitted.model, bags, inputs or CellInputs(), device)
    controls, n_units = cells.at(control), len(np.unique(units[control]))
    if n_units > 1:
        controls = replace(controls, patients=units[control])
    work = AnomalyModel.fit(controls, settings, device, fitted.gaussian)
    whole = yield from _as_steps(work, "Networks of the anomaly scores")
    if n_units < 2:
        yield from whole.calibrate(controls)
        return whole
    cells.fit_novelty(whole, bags)
    n_networks = 0 if fitted.stopped else min(settings.training.calibration_folds, n_units)
    n_parts = n_networks if n_networks > 1 else min(_PARTS, n_units)
    part = split_units(bags, units, n_parts, settings.training.seed)
    held_out, novelties, patients = yield from _hold_out(cells, bags, part, settings, device, n_networks > 1)
    if len(novelties):
        whole.calibrate_novelty(novelties, patients)
    yield from empty_boxes(controls)
    yield from whole.calibrate(controls, held_out)
    whole.n_networks = n_networks if n_networks > 1 else 0
    return whole


def _hold_out(
    cells: _EmbeddedCells,
    bags: BagArrays,
    part: NDArray[np.int64],
    settings: RunSettings,
    device: torch.device,
    networks: bool,
) -> Generator[Event, None, tuple[dict[str, Floats], Tensor, list[str]]]:
    """Return scores of control cells, and novelty and patient of bags, by models fitted without their part.

    Parameters
    ----------
    part
        ``(n_instances,)`` part of each stored cell; -1 for a cell that is never held out.
    networks
        Train a network without each part; else the network stays.
    """
    control, n_parts = bags.control_cells()[0], int(part.max()) + 1
    scores: list[tuple[NDArray[np.int64], dict[str, Floats]]] = []
    novelties, patients = list[Tensor](), list[str]()
    for number in range(n_parts):
        yield Step("calibration", number, n_parts, f"Holding out part {number + 1} of the patients")
        known, others = _restricted(bags, part != number), _restricted(bags, part == number, _FEWEST_CELLS)
        if networks:
            model = yield from _network(known, settings, device, f"Network {number + 1} of {n_parts}")
            cells = _EmbeddedCells.by(model.to(device), bags, cells.inputs, device)
        work = fit_quietly(cells.at(known.control_cells()[0]), settings, device)
        partial = yield from _as_steps(work, f"Part {number + 1} of {n_parts}")
        cells.fit_novelty(partial, known)
        rows = np.flatnonzero(part[control] == number)
        if len(rows):
            scores.append((rows, partial.channel_scores(cells.at(control[rows]))))
        if len(others):
            novelties.append(torch.from_numpy(partial.bag_novelty(cells.embedded(others, partial))))
            patients += others.patients
    yield Step("calibration", n_parts, n_parts, "")
    return held_out_scores(scores, len(control)), torch.cat([torch.empty(0), *novelties]), patients


def fit_anomaly_to_seen_cells(
    bags: BagArrays,
    fitted: FittedModel,
    settings: RunSettings,
    device: torch.device,
    inputs: CellInputs | None = None,
) -> Generator[Event, None, AnomalyModel]:
    """Fit the anomaly model to cells that the network has seen, without novelty: p-values come out small.

    The parameters are those of `fit_anomaly`.
    """
    control, patients = bags.control_cells()
    distances = {LATENT: fitted.held_out.double().numpy()}
    controls = replace((inputs or CellInputs()).take(control), scores=distances)
    whole = yield from AnomalyModel.fit(controls, settings, device, fitted.gaussian)
    if len(set(patients)) < 2:
        yield from whole.calibrate(controls)
        return whole
    found = yield from cross_fit_channels(controls, parts_of_patients(patients), settings, device)
    yield from whole.calibrate(replace(controls, patients=np.array(patients)), found | distances)
    return whole


@dataclass(frozen=True, eq=False)
class _EmbeddedCells:
    """The stored cells of some bags with the embeddings of one network.

    Parameters
    ----------
    inputs
        What the channels read beside the embedding, ``(n_instances, ...)``.
    latents
        ``(n_used, n_views, k)``
    position
        ``(n_instances,)`` row of each stored cell in ``latents``.
    """

    inputs: CellInputs
    latents: Tensor
    position: NDArray[np.int64]

    @classmethod
    def by(
        cls, model: AmilModel, bags: BagArrays, inputs: CellInputs, device: torch.device
    ) -> _EmbeddedCells:
        """Return the cells as a network embeds them."""
        used, position = bags.used()
        return cls(inputs, embed_all(model, bags.cells(used), device), position)

    def at(self, rows: NDArray[np.int64]) -> CellInputs:
        """Return the inputs of stored cells."""
        return replace(self.inputs.take(rows), embedding=self.latents[self.position[rows]])

    def embedded(self, bags: BagArrays, anomaly: AnomalyModel) -> EmbeddedBags:
        """Return embeddings and distances, bag after bag, and the sizes of the bags."""
        z = self.latents[self.position[np.concatenate(bags.rows)]]
        return z, anomaly.pooling_distance(z), bags.lengths

    def fit_novelty(self, anomaly: AnomalyModel, known: BagArrays) -> None:
        """Fit the novelty of bags to the known ones."""
        controls = self.latents[self.position[known.control_cells()[0]]]
        bags = self.embedded(known, anomaly)
        anomaly.fit_novelty(controls, bags, torch.from_numpy(known.labels), len(known.classes))


def _restricted(bags: BagArrays, keep: NDArray[np.bool_], fewest: int = 1) -> BagArrays:
    """Return the bags with only the stored cells ``keep``; those that lose too many are dropped."""
    rows = [own[keep[own]] for own in bags.rows]
    sizes = zip(rows, bags.rows, strict=True)
    chosen = [i for i, (some, own) in enumerate(sizes) if len(some) >= min(fewest, len(own)) > 0]
    return replace(bags.take(chosen), rows=tuple(rows[i] for i in chosen))


def _network(
    bags: BagArrays, settings: RunSettings, device: torch.device, name: str
) -> Generator[Event, None, AmilModel]:
    """Train a network on some of the bags as the final one was trained; only its encoder will be used."""
    training = settings.training
    if training.train_encoder_on_bags or not training.cell_epochs:
        fitted = yield from _as_steps(fit_model(bags, settings, device), name)
        return fitted.model
    weights = yield from _as_steps(fit_encoder(bags, settings, device), name)
    model = AmilModel(settings.model, len(bags.classes), *sizes_of(bags.instances))
    model.load_state_dict(model.state_dict() | weights)
    return model


def _as_steps(work: Generator[Event, None, Result], name: str) -> Generator[Event, None, Result]:
    """Pass on the epochs of a training that is not the user's own as mere steps."""

    def as_step(event: Event) -> Event | None:
        if not isinstance(event, EpochReport):
            return None
        return Step("calibration", event.epoch + 1, event.n_epochs, name)

    return (yield from translated(work, as_step))
