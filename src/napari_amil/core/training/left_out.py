"""What is usual: control cells and known bags as networks see them that were not trained on them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.refits import ControlMoments
from napari_amil.core.anomaly.novelty import BagNovelty
from napari_amil.core.base.events import EpochReport, Event, Result, Step, translated
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import sizes_of
from napari_amil.core.mil.model import AmilModel, embed_all
from napari_amil.core.training.loop import FittedModel, fit_encoder, fit_model
from napari_amil.core.training.reference import ControlCells, Reference
from napari_amil.core.training.units import deal_units

_PARTS = 5  # parts that are left out where no network is trained without them
_FEWEST_CELLS = 5  # of a bag whose other cells are left in; with fewer it stands for nothing


def fit_reference(
    bags: BagArrays,
    units: NDArray[np.str_],
    fitted: FittedModel,
    settings: RunSettings,
    device: torch.device,
    measurements: NDArray[Any] | None = None,
) -> Generator[Event, None, Reference]:
    """Leave out the units part by part, and look at what was left out with all that was fitted without it.

    With ``training.calibration_folds`` of 2 or more the network is among that: one is trained for
    each part, and what it has not seen stands for what the final network will not have seen
    (cross-conformal prediction, Vovk 2015, with one network in place of several at the end).
    Otherwise only Gaussian and classes are fitted anew, and since the encoder has seen the cells,
    p-values come out smaller than they should.

    Parameters
    ----------
    units
        ``(n_instances,)`` from `napari_amil.core.training.units.independent_units`.
    fitted
        The model of all bags.
    measurements
        ``(n_instances, n_measurements)`` of the stored cells.
    """
    used, position = bags.used()
    latents = embed_all(fitted.model, bags.cells(used), device)
    whole = _Look.of(latents, position, bags, settings)
    control = bags.control_cells()[0]
    seen, measured = whole.distances(control), None if measurements is None else measurements[control]
    n_units = len(np.unique(units[control]))
    if n_units < 2:
        return (yield from ControlCells(seen, seen, measured).reference(settings.model.morphology_weight))
    n_folds = 0 if fitted.stopped else min(settings.training.calibration_folds, n_units)
    n_parts = n_folds if n_folds > 1 else min(_PARTS, n_units)
    part = deal_units(bags, units, n_parts, settings.training.seed)
    left_out = torch.full((len(part),), torch.nan, dtype=torch.float64)
    novelties, patients = list[Tensor](), list[str]()
    for number in range(n_parts):
        yield Step("calibration", number, n_parts, f"Leaving out part {number + 1} of the patients")
        known, others = _restricted(bags, part != number), _restricted(bags, part == number, _FEWEST_CELLS)
        if n_folds > 1:
            model = yield from _network(known, settings, device, f"Network {number + 1} of {n_parts}")
            latents = embed_all(model.to(device), bags.cells(used), device)
        look = _Look.of(latents, position, known, settings)
        rows = control[part[control] == number]
        left_out[rows] = look.distances(rows).double()
        if len(others):
            novelties.append(look.novelty.score(*look.cells(others)))
            patients += others.patients
    yield Step("calibration", n_parts, n_parts, "")
    if novelties:
        whole.novelty.calibration = Calibration(torch.cat(novelties), patients)
    cells = ControlCells(left_out[control], seen, measured, part[control], units[control])
    yield from cells.said_of_boxes()
    reference = yield from cells.reference(settings.model.morphology_weight)
    moments = ControlMoments.from_controls(whole.latents[position[control]], units[control], fitted.gaussian)
    n_networks = n_parts if n_folds > 1 else 0
    return replace(reference, moments=moments, novelty=whole.novelty, n_networks=n_networks)


@dataclass(frozen=True, eq=False)
class _Look:
    """Cells as one network sees them, with Gaussian and classes fitted to the bags that it knows.

    Parameters
    ----------
    latents, d
        ``(n_used, n_views, k)`` and ``(n_used,)``
    position
        ``(n_instances,)`` where a stored cell stands in these.
    novelty
        Fitted to the known bags.
    """

    latents: Tensor
    d: Tensor
    position: NDArray[np.int64]
    novelty: BagNovelty

    @classmethod
    def of(
        cls, latents: Tensor, position: NDArray[np.int64], known: BagArrays, settings: RunSettings
    ) -> _Look:
        """Fit Gaussian and classes to the ``known`` bags."""
        k = latents.shape[-1]
        controls = latents[position[known.control_cells()[0]]]
        gaussian = LatentGaussian(k)
        gaussian.fit(controls, settings.model, settings.training.seed)
        look = cls(latents, gaussian.distance(latents), position, BagNovelty(len(known.classes), k))
        look.novelty.refer_to(controls)
        look.novelty.fit(*look.cells(known), torch.from_numpy(known.labels))
        return look

    def distances(self, rows: NDArray[np.int64]) -> Tensor:
        """Return ``d_n (n,)`` of stored cells."""
        return self.d[self.position[rows]]

    def cells(self, bags: BagArrays) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings and distances, bag after bag, and the sizes of the bags."""
        at = self.position[np.concatenate(bags.rows)]
        return self.latents[at], self.d[at], bags.lengths


def _restricted(bags: BagArrays, keep: NDArray[np.bool_], fewest: int = 1) -> BagArrays:
    """Return the bags with only the stored cells ``keep``; those that lose too many are left out."""
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
