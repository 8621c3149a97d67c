"""Anomaly model and class probabilities of a training, calibrated on held-out cells and bags."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace

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
from napari_amil.core.mil.class_calibration import ClassCalibration, weight_by_patient
from napari_amil.core.mil.model import AmilModel, embed_all
from napari_amil.core.training.fusion_fit import best_share, best_threshold, fit_to_held_out
from napari_amil.core.training.loop import FittedModel, fit_model
from napari_amil.core.training.pooling_scores import with_pooling_scores
from napari_amil.core.training.profile_fit import fit_profile
from napari_amil.core.training.units import groups_of_units, split_units, weighed_controls

_PARTS = 5  # parts that are held out where no network is trained without them
_FEWEST_CELLS = 5  # of a bag that keeps cells in training; with fewer it represents nothing


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Anomaly model and calibration that a training fits after the network.

    Parameters
    ----------
    anomaly
        Anomaly of cells and novelty of bags.
    classes
        Calibration of class probabilities; None where no network was trained without some patients.
    threshold
        Probability of the disease from which on a left-out bag was best taken for it; NaN where unknown.
    left_out
        Number of left-out bags, and the share of them that network, profile and both call rightly.
    """

    anomaly: AnomalyModel
    classes: ClassCalibration | None = None
    threshold: float = math.nan
    left_out: Mapping[str, float] = field(default_factory=dict)


def fit_anomaly(
    bags: BagArrays,
    units: NDArray[np.str_],
    fitted: FittedModel,
    settings: RunSettings,
    device: torch.device,
    inputs: CellInputs | None = None,
) -> Generator[Event, None, CrossFitted]:
    """Fit the anomaly model to the reference, and calibrate it part by part on units that were held out.

    Control bags that are no reference are held out and calibrate like the others.
    With ``training.calibration_folds`` of 2 or more a network is trained without each part, and what it
    has not seen stands for what the final network will not have seen (cross-conformal prediction, Vovk
    2015, with one network in place of several at the end); its logits of the bags that it has not seen
    calibrate the class probabilities. Units that share bags are left out together where there are several
    such groups: a bag of which a part is left out may have lost what its label stands for. Otherwise only
    the channels and the classes are fitted anew, and since the encoder has seen the cells, p-values come
    out smaller than they should.

    Parameters
    ----------
    units
        ``(n_instances,)`` from `napari_amil.core.training.units.independent_units`.
    fitted
        The model of all bags.
    inputs
        Inputs of the channels for the stored cells other than the embedding; None without any.
    """
    cells = _EmbeddedCells(inputs or CellInputs(), units).seen_by(fitted.model, bags, device)
    fit_profile(fitted.model, bags, cells.inputs.measurements, units)
    bags = replace(bags, units=units)
    control = bags.control_cells(teaching=True)[0]
    weights = weighed_controls(bags, alike=True)[2]
    controls, n_units = replace(cells.at(control), weights=weights), len(np.unique(units[control]))
    if n_units > 1:
        controls = replace(controls, patients=units[control])
    kept = fitted.gaussian, fitted.networks
    work = AnomalyModel.fit(controls, settings, device, *kept)
    whole = yield from _as_steps(work, "Networks of the anomaly scores")
    whole.pooled = fitted.pooled
    if n_units < 2:
        yield from whole.calibrate(controls)
        return CrossFitted(whole)
    cells.fit_novelty(whole, bags)
    groups = groups_of_units(bags, units)
    n_groups = len(np.unique(groups[control]))
    n_networks = 0 if fitted.stopped else min(settings.training.calibration_folds, n_groups)
    n_parts = n_networks if n_networks > 1 else min(_PARTS, n_groups)
    part = split_units(bags, groups, n_parts, settings.training.seed)
    resting = None if n_networks > 1 else fitted
    held_out, left_out = yield from _hold_out(cells, bags, part, settings, device, resting)
    if left_out.patients:
        whole.calibrate_novelty(torch.cat(left_out.novelty), left_out.patients)
    yield from empty_boxes(controls)
    yield from whole.calibrate(controls, held_out)
    whole.n_networks = n_networks if n_networks > 1 else 0
    return CrossFitted(whole, *left_out.calibrated(fitted.model))


@dataclass(eq=False)
class _LeftOutBags:
    """Bags as models see them that were fitted without their patients: novelty, logits, patient."""

    novelty: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    profiles: list[Tensor] = field(default_factory=list)
    bags: list[BagArrays] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)

    def calibrated(self, model: AmilModel) -> tuple[ClassCalibration | None, float, dict[str, float]]:
        """Fit profile share and fusion of a model to these bags; return calibration, threshold and calls.

        None, NaN and nothing where no network gave logits.
        """
        if not self.logits:
            return None, math.nan, {}
        logits = torch.cat(self.logits).double().cpu().numpy()
        labels = np.concatenate([bags.labels for bags in self.bags])
        calls = {"bags": float(len(labels)), "right_network": _right(logits, labels)}
        if model.profile is not None and self.profiles:
            profile = torch.cat(self.profiles).double().cpu().numpy()
            share = best_share(logits, profile, labels, weight_by_patient(self.patients))
            model.profile.share.fill_(share)
            logits = (1.0 - share) * logits + share * profile
            calls |= {"right_profile": _right(profile, labels), "profile_share": share}
        if model.fusion is not None:
            logits = fit_to_held_out(model, logits, labels, [bags.covariates for bags in self.bags])
        calls["right"] = _right(logits, labels)
        calibration = ClassCalibration.fit(logits, labels, self.patients)
        control, n_classes = self.bags[0].control_label, logits.shape[1]
        if n_classes != 2:
            return calibration, math.nan, calls
        probability = calibration.probability(logits)[:, 1 - control]
        return calibration, best_threshold(labels != control, probability), calls


def _right(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Return the share of bags whose largest logit is that of their class."""
    return float((logits.argmax(axis=1) == labels).mean())


def _hold_out(
    cells: _EmbeddedCells,
    bags: BagArrays,
    part: NDArray[np.int64],
    settings: RunSettings,
    device: torch.device,
    resting: FittedModel | None,
) -> Generator[Event, None, tuple[dict[str, Floats], _LeftOutBags]]:
    """Return scores of control cells, and novelty and logits of bags, by models fitted without their part.

    Parameters
    ----------
    part
        ``(n_instances,)`` part of each stored cell; -1 for a cell that is never held out.
    resting
        The model that stays, and then there are no logits; None to train one without each part.
    """
    control, n_parts = bags.control_cells(teaching=True)[0], int(part.max()) + 1
    scores: list[tuple[NDArray[np.int64], dict[str, Floats]]] = []
    left_out = _LeftOutBags()
    for number in range(n_parts):
        yield Step("calibration", number, n_parts, f"Holding out part {number + 1} of the patients")
        known, others = _restricted(bags, part != number), _restricted(bags, part == number, _FEWEST_CELLS)
        model: AmilModel | None = None
        fitted = resting
        if fitted is None:
            name = f"Network {number + 1} of {n_parts}"
            scored = with_pooling_scores(known, cells.inputs, settings, device)
            known, networks = yield from _as_steps(scored, name)
            fitted = yield from _as_steps(fit_model(known, settings, device), name)
            fitted = replace(fitted, networks=networks)
            model = fitted.model.to(device).eval()
            fit_profile(model, known, cells.inputs.measurements, cells.units)
            cells = cells.seen_by(model, bags, device)
        kept = {} if resting is not None else fitted.networks
        rows, _, weights = weighed_controls(known, alike=True)
        work = fit_quietly(replace(cells.at(rows), weights=weights), settings, device, kept)
        partial = yield from _as_steps(work, f"Part {number + 1} of {n_parts}")
        partial.pooled = fitted.pooled
        cells.fit_novelty(partial, known)
        rows = np.flatnonzero(part[control] == number)
        if len(rows):
            scores.append((rows, partial.channel_scores(cells.at(control[rows]))))
        if len(others):
            embedded = cells.embedded(others if resting else cells.scored(others, partial), partial)
            left_out.novelty.append(torch.from_numpy(partial.bag_novelty(embedded)))
            left_out.patients += others.patients
            if model is not None:
                left_out.logits.append(_logits(model, embedded, device))
                left_out.profiles += _profile_logits(model, others, cells.inputs)
                left_out.bags.append(others)
    yield Step("calibration", n_parts, n_parts, "")
    return held_out_scores(scores, len(control)), left_out


@torch.inference_mode()
def _logits(model: AmilModel, bags: EmbeddedBags, device: torch.device) -> Tensor:
    """Return the logits ``(n_bags, n_classes)`` of the images of embedded bags."""
    z, distances, lengths = bags
    placed = z.mean(dim=1).to(device), lengths.to(device), distances.to(device)
    return model.aggregate(*placed).image_logits.cpu()


def _profile_logits(model: AmilModel, bags: BagArrays, inputs: CellInputs) -> list[Tensor]:
    """Return the logits of the profile of a network, in a list; nothing where it has none."""
    if model.profile is None or inputs.measurements is None:
        return []
    measured = torch.from_numpy(np.asarray(inputs.measurements, np.float32)[np.concatenate(bags.rows)])
    return [model.profile.cpu()(measured, bags.lengths)[1]]


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
    control, patients, weights = weighed_controls(bags, alike=settings.model.units_alike)
    known = {name: values for name, values in bags.scores_at(control).items() if name in fitted.networks}
    distances = {LATENT: fitted.held_out.double().numpy(), **known}
    controls = replace((inputs or CellInputs()).take(control), scores=distances, weights=weights)
    whole = yield from AnomalyModel.fit(controls, settings, device, fitted.gaussian, fitted.networks)
    whole.pooled = fitted.pooled
    if len(set(patients)) < 2:
        yield from whole.calibrate(controls)
        return whole
    part = parts_of_patients(patients)
    found = yield from cross_fit_channels(controls, part, settings, device, fitted.networks)
    yield from whole.calibrate(replace(controls, patients=np.array(patients)), found | distances)
    return whole


@dataclass(frozen=True, eq=False)
class _EmbeddedCells:
    """The stored cells of some bags with the embeddings of one network.

    Parameters
    ----------
    inputs
        Inputs of the channels other than the embedding, ``(n_instances, ...)``.
    units
        ``(n_instances,)`` from `napari_amil.core.training.units.independent_units`.
    latents
        ``(n_used, n_views, k)``
    position
        ``(n_instances,)`` row of each stored cell in ``latents``.
    """

    inputs: CellInputs
    units: NDArray[np.str_]
    latents: Tensor = field(default_factory=lambda: torch.empty(0))
    position: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def seen_by(self, model: AmilModel, bags: BagArrays, device: torch.device) -> _EmbeddedCells:
        """Return the cells as a network embeds them."""
        used, position = bags.used()
        return replace(self, latents=embed_all(model, bags.cells(used), device), position=position)

    def at(self, rows: NDArray[np.int64]) -> CellInputs:
        """Return the inputs of stored cells."""
        return replace(self.inputs.take(rows), embedding=self.latents[self.position[rows]])

    def embedded(self, bags: BagArrays, anomaly: AnomalyModel) -> EmbeddedBags:
        """Return embeddings and distances, bag after bag, and the sizes of the bags."""
        z = self.latents[self.position[np.concatenate(bags.rows)]]
        return z, anomaly.pooling_distance(z, bags.scores_at(np.concatenate(bags.rows))), bags.lengths

    def scored(self, bags: BagArrays, anomaly: AnomalyModel) -> BagArrays:
        """Return bags that an anomaly model has not seen with its scores for the pooling."""
        used = bags.used()[0]
        scores = {}
        for name, values in anomaly.pooled_scores(self.inputs.take(used)).items():
            scores[name] = np.full(len(bags.instances), np.nan)
            scores[name][used] = values
        return replace(bags, scores=scores)

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


def _as_steps(work: Generator[Event, None, Result], name: str) -> Generator[Event, None, Result]:
    """Pass on the epochs of a training that is not the user's own as mere steps."""

    def as_step(event: Event) -> Event | None:
        if not isinstance(event, EpochReport):
            return None
        return Step("calibration", event.epoch + 1, event.n_epochs, name)

    return (yield from translated(work, as_step))
