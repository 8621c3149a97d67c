"""Training of a scorer on a cohort."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_amil.core.base.events import Event
from napari_amil.core.instances.cell_inputs import cell_inputs
from napari_amil.core.instances.control_cells import control_sample
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.field_note import field_note, summary_of_fields
from napari_amil.core.instances.focus import focus_of
from napari_amil.core.instances.gather import Gathered, cohort_hash, gather, without_cut_cells
from napari_amil.core.instances.sources import Source
from napari_amil.core.instances.taught import CARD, taught_entry
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.instances import pixels_of, sizes_of
from napari_amil.core.model.bundle import INTENDED_USE, Bundle
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.training.cross_fitting import CrossFitted, fit_anomaly
from napari_amil.core.training.loop import FittedModel, fit_model
from napari_amil.core.training.pooling_scores import with_pooling_scores
from napari_amil.core.training.units import independent_units


def train_scorer(
    source: Source, recipe: Recipe, checkpoint: Path | None = None, stop: Path | None = None
) -> Generator[Event, None, Bundle]:
    """Train encoder, attention, pooling and control Gaussian on labelled bags.

    The settings are those of the recipe, except that the model is the user's and not the bundle's;
    the detector of the recipe goes into the new bundle.

    Parameters
    ----------
    source
        The training bags; test bags must not be among them.
    recipe
        Detector, settings and device.
    checkpoint
        File to write after each epoch and to resume from.
    stop
        File whose appearance ends the training after the epoch that runs.
    """
    started = time.monotonic()
    labelled = replace(source, cohort=source.cohort.where(lambda bag: bag.label is not None))
    gathered: Gathered = yield from gather(labelled, recipe, measured_instances, field_note)
    gathered = without_cut_cells(gathered)
    bags = as_arrays(gathered, embed_measurements=recipe.settings.model.measured)
    inputs = cell_inputs(gathered.values)
    units = independent_units(bags, gathered.images, gathered.slides)
    bags = replace(bags, units=units)
    bags, networks = yield from with_pooling_scores(bags, inputs, recipe.settings, recipe.device)
    fitted: FittedModel = yield from fit_model(bags, recipe.settings, recipe.device, checkpoint, stop=stop)
    fitted = replace(fitted, networks=networks)
    crossed: CrossFitted = yield from fit_anomaly(bags, units, fitted, recipe.settings, recipe.device, inputs)
    anomaly = crossed.anomaly
    controls = control_sample(gathered, bags, fitted.model, recipe.device, recipe.settings.training.seed)
    focus = focus_of(controls)
    sizes = sizes_of(bags.instances)
    scorer = Scorer(
        fitted.model.cpu(),
        anomaly,
        bags.classes,
        *sizes,
        controls,
        crossed.classes,
        crossed.threshold,
        bags.control,
    )
    # all but the detector's entry of the old card describes another scorer
    card = {name: entry for name, entry in recipe.bundle.card.items() if name == "detector"}
    bundle = replace(recipe.bundle, settings=recipe.settings, scorer=scorer, card=card)
    return bundle.with_card(
        intended_use=INTENDED_USE,
        data=f"the cohort '{Path(source.cohort.root).resolve().name}'",
        scorer=_scorer_card(gathered, fitted, time.monotonic() - started)
        | {CARD: taught_entry(labelled)}
        | {"calibration": _calibration_card(crossed)}
        | {
            "fields": summary_of_fields(gathered.notes.values()) | ({} if focus is None else {"focus": focus})
        },
    )


def as_arrays(gathered: Gathered, *, embed_measurements: bool) -> BagArrays:
    """Return the cohort as arrays for the training loop, with measurements only if they are embedded."""
    cohort = gathered.cohort
    labels = np.array([cohort.classes.index(str(bag.label)) for bag in cohort], dtype=np.int64)
    patients = tuple(bag.patient for bag in cohort)
    values = gathered.values if embed_measurements else pixels_of(gathered.values)
    covariates = Covariates.from_bags(cohort.bags)
    reference = np.array([bag.control_reference for bag in cohort])
    names = cohort.classes, cohort.control
    return BagArrays(values, gathered.rows, labels, patients, *names, covariates, reference)


def _scorer_card(gathered: Gathered, fitted: FittedModel, seconds: float) -> dict[str, Any]:
    """Return the entry of the card about the training of the scorer."""
    cohort = gathered.cohort
    asked = f"after {len(fitted.history)} of {fitted.history[-1].n_epochs} epochs, as was asked"
    return {
        "cohort": Path(cohort.root).name,
        "cohort_hash": cohort_hash(gathered),
        "classes": list(cohort.classes),
        "control": cohort.control,
        "n_bags": {name: sum(bag.label == name for bag in cohort) for name in cohort.classes},
        "n_patients": {
            name: len({bag.patient for bag in cohort if bag.label == name}) for name in cohort.classes
        },
        "n_cells": len(gathered.values),
        "n_control_cells": int(fitted.gaussian.n_cells),
        "covariance_shrinkage": float(fitted.gaussian.shrinkage),
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch + 1,
        **({"encoder": origin} if (origin := fitted.model.encoder.origin()) else {}),
        **({"stopped": asked} if fitted.stopped else {}),
        "seconds": round(seconds),
    }


def _calibration_card(crossed: CrossFitted) -> dict[str, Any]:
    """Return the entry of the card about the held-out control cells and bags."""
    calibration = crossed.anomaly.calibration
    effects, classes = calibration.effects, crossed.classes
    return {
        "networks": crossed.anomaly.n_networks,
        "n_cells": len(calibration),
        "n_patients": calibration.n_patients,
        "patient_spread": None if effects is None else round(effects.spread, 4),
        "held_out_over_in_sample": round(calibration.center / float(calibration.in_sample), 4),
        "temperature": None if classes is None else round(float(classes.temperature), 4),
        "left_out": {name: round(value, 4) for name, value in crossed.left_out.items()},
    }
