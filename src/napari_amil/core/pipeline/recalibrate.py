"""Calibration of a model to other control smears, without training."""

from __future__ import annotations

import copy
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_amil.core.anomaly.channels import LATENT
from napari_amil.core.anomaly.cross_fit import cross_fit_channels, empty_boxes
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.patients import ControlWeights, parts_of_patients
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.instances.cell_inputs import cell_inputs
from napari_amil.core.instances.control_cells import control_sample
from napari_amil.core.instances.drift import drift, spread_between
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.field_note import field_note, summary_of_fields
from napari_amil.core.instances.focus import focus_of
from napari_amil.core.instances.gather import Gathered, cohort_hash, gather, without_cut_cells
from napari_amil.core.instances.sources import Source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.model import embed_all
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.model.reference import HeldOutCells, called_control, power
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.training.units import independent_units

FEWEST_CELLS = 50
"""Control cells without which there is no calibration."""
FEW_CELLS, FEW_PATIENTS = 300, 5
_PARTS = 10  # at most; patients are left out one part after the other


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The bundle that refers to other controls, and how far these lie from those before."""

    bundle: Bundle
    drift: dict[str, float]


def calibrate(source: Source, recipe: Recipe) -> Generator[Event, None, Calibrated]:
    """Refit control Gaussian and calibration to the bags of ``source``, all of them controls.

    The network stays; what its classifiers see is moved, so that these controls have the moments of those of
    the training. The share of them that is called control when left out is reported
    (`called_control`). The anomaly model is fitted anew, every channel of it, with the scores of held-out
    patients, from which percentile, p and q come, and the standard errors; so are the mean and deviation
    by which a pooling standardises distances, since its weights were learned on distances in control
    deviations, the sample of control cells, and the origin of the bag novelty. The held-out bags behind
    ``novelty_p`` stay, with these controls added, so that a bag like either is known.

    Raises
    ------
    CohortError
        If there are too few cells, a single image, or bags that are no controls.
    """
    scorer = recipe.bundle.need_scorer()
    _refuse_diseases(source, scorer)
    gathered: Gathered = without_cut_cells(
        (yield from gather(source, recipe, measured_instances, field_note))
    )
    bags = as_controls(gathered)
    rows = bags.control_cells()[0]
    units = yield from control_units(bags, rows, gathered.images)
    latents = embed_all(scorer.model, gathered.values, recipe.device)
    cells = cell_inputs(gathered.values[rows], latents[rows].double())
    cells = replace(cells, patients=units, weights=ControlWeights.from_units(units))
    renewed, calls = yield from _renewed(scorer, cells, recipe)
    seed = recipe.bundle.settings.training.seed
    sample = control_sample(gathered, bags, scorer.model, recipe.device, seed)
    renewed = replace(renewed, controls=sample)
    found = drift(
        scorer,
        cells,
        summary_of_fields(gathered.notes.values()) | _focus(renewed),
        recipe.bundle.card.get("scorer", {}).get("fields", {}) | _focus(scorer),
    )
    found |= calls | power(renewed.anomaly.calibration)
    used = np.concatenate(bags.rows)
    scores = renewed.anomaly.pooled_scores(cell_inputs(gathered.values[used]))
    distance = renewed.anomaly.pooling_distance(latents[used], scores)
    renewed.anomaly.add_known_bags((latents[used], distance, bags.lengths), bags.patients)
    card = _card(gathered, units, found)
    return Calibrated(replace(recipe.bundle, scorer=renewed).with_card(calibration=card), found)


def _focus(scorer: Scorer) -> dict[str, list[float]]:
    """Return ``focus`` of the control cells whose pictures a scorer brings, nothing without pictures."""
    found = focus_of(scorer.controls)
    return {} if found is None else {"focus": found}


def _refuse_diseases(source: Source, scorer: Scorer) -> None:
    """Refuse folders that are named like a disease."""
    diseases = set(scorer.classes) - {source.cohort.control}
    for bag in source.cohort:
        if bag.patient in diseases:
            raise CohortError(
                f"The folder '{bag.patient}' is named like a disease of this model; give the folder of the "
                "controls alone, or the name of their class with --control."
            )


def as_controls(gathered: Gathered) -> BagArrays:
    """Return bags that are all of the control class."""
    cohort = gathered.cohort
    patients = tuple(bag.patient for bag in cohort)
    labels = np.zeros(len(patients), dtype=np.int64)
    return BagArrays(gathered.values, gathered.rows, labels, patients, (cohort.control,), cohort.control)


def control_units(
    bags: BagArrays, rows: NDArray[np.int64], images: NDArray[np.str_]
) -> Generator[Event, None, NDArray[np.str_]]:
    """Return the patient of each control cell, or its image, and say where that is little to go by."""
    if len(rows) < FEWEST_CELLS:
        raise CohortError(
            f"There are only {len(rows)} whole control cells; a calibration needs {FEWEST_CELLS}, better "
            f"{FEW_CELLS} of {FEW_PATIENTS} patients."
        )
    units = independent_units(bags, images)[rows]
    if len(set(bags.patients)) == 1:
        units = images[rows]
        if len(np.unique(units)) == 1:
            raise CohortError("All control cells are of one image; add images, better of several patients.")
        yield Warned("All controls are of one patient: how patients differ is taken from how its images do.")
    elif set(bags.patients) <= set(images.tolist()):
        yield Warned("The images lie in no folders, so each counts as a patient of its own.")
    n_units = len(np.unique(units))
    if n_units < FEW_PATIENTS or len(rows) < FEW_CELLS:
        yield Warned(
            f"{len(rows)} cells of {n_units} patients are few: p-values stay large. "
            f"{FEW_CELLS} cells of {FEW_PATIENTS} patients are better."
        )
    return units


def _renewed(
    scorer: Scorer, controls: CellInputs, recipe: Recipe
) -> Generator[Event, None, tuple[Scorer, dict[str, float]]]:
    """Return the scorer referred to other control cells, and how it calls those that are left out.

    Parameters
    ----------
    controls
        With embeddings in float64, so that held-out distances keep their order, and patients.
    """
    settings, units, latents = recipe.bundle.settings, controls.patients, controls.embedding
    assert units is not None
    assert latents is not None
    kept = scorer.anomaly.networks  # which never saw these cells
    anomaly: AnomalyModel = yield from AnomalyModel.fit(controls, settings, recipe.device, kept=kept)
    part = parts_of_patients(units, _PARTS)
    held_out = yield from cross_fit_channels(controls, part, settings, recipe.device, kept)
    yield from empty_boxes(controls)
    yield from anomaly.calibrate(controls, held_out)
    model = copy.deepcopy(scorer.model).cpu()  # where the embeddings are
    distances = torch.from_numpy(held_out[LATENT])
    anomaly.pooled = copy.deepcopy(scorer.anomaly.pooled)
    if anomaly.pooled is not None:
        anomaly.pooled.fit(distances, held_out)
        distances = anomaly.pooled(distances, held_out)
    model.set_control_distances(float(distances.mean()), max(float(distances.std(correction=0)), 1e-6))
    anomaly.keep_novelty(scorer.anomaly, latents)
    renewed = replace(scorer, model=model, anomaly=anomaly)
    z = latents.mean(dim=1).float()
    known = None if scorer.controls is None else scorer.model.learned(scorer.controls.z)
    control = scorer.classes.index(recipe.bundle.settings.control)
    left_out = HeldOutCells(z, distances.float(), units, part, controls.measurements)
    calls = called_control(renewed, left_out, known, control)
    calls["between"] = spread_between(z, units)
    if scorer.controls is not None and known is not None:
        calls["between_known"] = spread_between(known, scorer.controls.images)
        model.refer_to(z, known)
    if model.profile is not None and controls.measurements is not None:
        model.profile.set_controls(controls.measurements[controls.whole], units[controls.whole])
    return renewed, calls


def _card(gathered: Gathered, units: NDArray[np.str_], found: dict[str, float]) -> dict[str, Any]:
    return {
        "controls": Path(gathered.cohort.root).name,
        "controls_hash": cohort_hash(gathered),
        "n_cells": len(units),
        "n_patients": len(np.unique(units)),
        "fields": summary_of_fields(gathered.notes.values()),
        "drift": {name: round(value, 4) if np.isfinite(value) else None for name, value in found.items()},
    }
