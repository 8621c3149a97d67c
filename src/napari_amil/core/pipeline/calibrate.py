"""A model is referred to other control smears, without training."""

from __future__ import annotations

import copy
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.calibration import Calibration, cross_fit, parts_of_patients
from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.refits import ControlMoments
from napari_amil.core.anomaly.novelty import BagNovelty
from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.instances.control_cells import control_sample
from napari_amil.core.instances.drift import drift, field_note, summary_of_fields
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.focus import focus_of
from napari_amil.core.instances.gather import Gathered, Source, cohort_hash, gather, without_cut_cells
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import measurements_of
from napari_amil.core.mil.model import embed_all
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.training.reference import ControlCells
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
    """Fit control Gaussian and calibration anew to the bags of ``source``, all of them controls.

    The network stays. What is refitted: the Gaussian; the distances of left-out patients, from which
    percentile, p and q come; the error of a distance; the mean and deviation by which a pooling
    standardises distances, since its weights were learned on distances in control deviations; what
    is usual among measurements; the sample of control cells; and the origin of the bag novelty. The
    held-out bags behind ``novelty_p`` stay, with these controls added, so that a bag like either is
    known.

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
    bags = _as_controls(gathered)
    rows = bags.control_cells()[0]
    units = yield from _units(bags, rows, gathered.images)
    latents = embed_all(scorer.model, gathered.values, recipe.device)
    settings = recipe.bundle.settings
    cells = latents[rows], measurements_of(gathered.values[rows])
    renewed = replace(
        (yield from _renewed(scorer, cells, units, settings)),
        controls=control_sample(gathered, bags, scorer.model, recipe.device, settings.training.seed),
    )
    found = drift(
        scorer,
        cells,
        summary_of_fields(gathered.notes) | _focus(renewed),
        recipe.bundle.card.get("scorer", {}).get("fields", {}) | _focus(scorer),
    )
    if renewed.novelty is not None:
        _add_bags(renewed.novelty, renewed.gaussian, latents, bags)
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


def _as_controls(gathered: Gathered) -> BagArrays:
    cohort = gathered.cohort
    patients = tuple(bag.patient for bag in cohort)
    labels = np.zeros(len(patients), dtype=np.int64)
    return BagArrays(gathered.values, gathered.rows, labels, patients, (cohort.control,), cohort.control)


def _units(
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
    scorer: Scorer, cells: tuple[Tensor, NDArray[Any]], units: NDArray[np.str_], settings: RunSettings
) -> Generator[Event, None, Scorer]:
    """Return the scorer with all that refers to control cells fitted to some.

    Parameters
    ----------
    cells
        Embeddings ``(n, n_views, k)`` and measurements ``(n, n_measurements)``.
    units
        ``(n,)`` patient of each.
    """
    latents, measurements = cells
    seed = settings.training.seed
    gaussian = LatentGaussian(latents.shape[-1])
    note = gaussian.fit(latents, settings.model, seed)
    if note:
        yield Warned(note)
    part = parts_of_patients(units, _PARTS)
    left_out = cross_fit(latents, part, settings.model, seed)
    controls = ControlCells(left_out, gaussian.distance(latents), measurements, part, units)
    yield from controls.said_of_boxes()
    usual = yield from controls.reference(settings.model.morphology_weight)
    model, novelty = copy.deepcopy(scorer.model), copy.deepcopy(scorer.novelty)
    model.set_control_distances(float(left_out.mean()), max(float(left_out.std(correction=0)), 1e-6))
    if novelty is not None:
        novelty.refer_to(latents)
    return replace(
        scorer,
        model=model,
        gaussian=gaussian,
        calibration=usual.calibration,
        moments=ControlMoments.from_controls(latents, units, gaussian),
        novelty=novelty,
        morphology=usual.morphology,
        joint=usual.joint,
        refits=usual.refits,
    )


def _add_bags(novelty: BagNovelty, gaussian: LatentGaussian, latents: Tensor, bags: BagArrays) -> None:
    """Add control bags to the held-out bags among which novelty is ranked, as patients of their own."""
    old = novelty.calibration
    if old is None or old.patients is None:
        return
    z = latents[np.concatenate(bags.rows)]
    scores = novelty.score(z, gaussian.distance(z), bags.lengths)
    patients = [f"before {code}" for code in old.patients.tolist()] + list(bags.patients)
    novelty.calibration = Calibration(torch.cat([old.distances, scores]), patients)


def _card(gathered: Gathered, units: NDArray[np.str_], found: dict[str, float]) -> dict[str, Any]:
    return {
        "controls": Path(gathered.cohort.root).name,
        "controls_hash": cohort_hash(gathered),
        "n_cells": len(units),
        "n_patients": len(np.unique(units)),
        "drift": {name: round(value, 4) if np.isfinite(value) else None for name, value in found.items()},
    }
