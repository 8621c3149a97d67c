"""Anomaly scores of the cells of a training for its pooling, none by a network that saw the control cell."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch

from napari_amil.core.anomaly.channels import SCORERS
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.anomaly.pooled import pooled_names
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import EpochReport, Event, Step, translated
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.mil.batch import BagArrays

_PARTS = 3  # of the control patients, each of which is scored by what did not see it


def with_pooling_scores(
    bags: BagArrays, inputs: CellInputs, settings: RunSettings, device: torch.device
) -> Generator[Event, None, tuple[BagArrays, dict[str, CellScorer]]]:
    """Return the bags with the scores that ``model.pooled`` names, and the networks among what made them.

    Parameters
    ----------
    inputs
        Inputs of the channels for each stored cell other than its embedding.

    Raises
    ------
    AmilError
        If the control cells are too few.
    """
    names, (rows, patients) = pooled_names(settings.model), bags.control_cells()
    if not names:
        return bags, {}
    used, controls = bags.used()[0], inputs.take(rows)
    several = len(set(patients)) > 1
    part = parts_of_patients(patients, _PARTS) if several else np.zeros(len(rows), dtype=np.int64)
    scores, networks = {}, dict[str, CellScorer]()
    for name in names:
        whole = yield from _fitted(name, controls, settings, device)
        scores[name] = np.full(len(bags.instances), np.nan)
        scores[name][used] = whole.score(inputs.take(used))
        if whole.stays:
            networks[name] = whole
        for number in np.unique(part) if several else ():
            partial = yield from _fitted(name, controls.take(part != number), settings, device)
            inside = part == number
            scores[name][rows[inside]] = partial.score(controls.take(inside))
    return replace(bags, scores=scores), networks


def _fitted(
    name: str, controls: CellInputs, settings: RunSettings, device: torch.device
) -> Generator[Event, None, CellScorer]:
    """Fit one score to control cells; its epochs are mere steps of the training that reads it."""

    def as_step(event: Event) -> Event:
        if not isinstance(event, EpochReport):
            return event
        return Step("training", event.epoch + 1, event.n_epochs, f"Score '{name}' for the pooling")

    scorer = SCORERS[name](settings.model)
    work = scorer.fit(controls.without_patients(), settings.training.seed, device)
    yield from translated(work, as_step)
    return scorer
