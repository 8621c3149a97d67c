"""Train a model on samples of one's own, or refer a model to one's own controls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from napari_amil.api.models import Changes, Model, Place, as_model, changed, load_model
from napari_amil.api.progress import Finished, Show, figures
from napari_amil.core import pipeline
from napari_amil.core.base.settings import RunSettings


@dataclass(frozen=True, eq=False)
class Training:
    """A trained model and how it did.

    Parameters
    ----------
    model
        Ready for `score`.
    metrics
        Figures of the held-out samples by name; empty where none were held out.
    folder
        The run: settings, events, tables, figures and ``bundle.safetensors``.
    failures
        ``source, reason`` of inputs that could not be used.
    """

    model: Model
    metrics: dict[str, float]
    folder: Path
    failures: pd.DataFrame

    def __repr__(self) -> str:
        return f"Training({self.model!r}, {figures(self.metrics)}; see '{self.folder}')"


def train(
    cohort: Place,
    out: Place,
    model: Model | Place | None = None,
    *,
    settings: Changes = "recommended",
    folds: int | None = None,
    progress: Show = False,
) -> Training:
    """Train encoder, attention, pooling and control Gaussian on labelled samples.

    Parameters
    ----------
    cohort
        A folder ``class/patient/image``, a cell list or a table of images.
    out
        Folder of the run; a training that was stopped goes on where it was.
    model
        Model whose detector finds the cells; the one that ships with the program if not given.
    settings
        Name of a preset, a YAML file, or settings that differ from the recommended preset, such as
        ``{"training": {"max_epochs": 10}}``.
    folds
        Deal the patients into this many folds and hold each out in turn.
    progress
        True for a progress bar, or a function that is called with every event.

    Raises
    ------
    AmilError
        If the cohort cannot be used, or has a problem that would make the results untrue.
    """
    chosen, run = as_model(model), _run_settings(settings)
    finished, folder = Finished(), pipeline.make_folder(Path(out))
    source = pipeline.cohort_source(finished.run(pipeline.opening_cohort(Path(cohort), run.control)))
    recipe = pipeline.Recipe.for_training(chosen.bundle, run, pipeline.pick_device(chosen.device))
    work = pipeline.train_run(source, recipe, folder, pipeline.Protocol(n_folds=folds))
    metrics = finished.run(work, progress)
    finished.warn()
    trained = load_model(folder / "bundle.safetensors", chosen.device)
    return Training(trained, metrics, folder, finished.failures())


def _run_settings(settings: Changes) -> RunSettings:
    """Return the settings of a run: a preset by its name, or the recommended one with changes."""
    start = pipeline.preset("recommended")
    if not isinstance(settings, Mapping) and os.fspath(settings) in pipeline.PRESETS:
        return pipeline.preset(os.fspath(settings))
    return changed(start, settings)


@dataclass(frozen=True, eq=False)
class Calibration:
    """A model that refers to other controls, and how far these lie from those before.

    Parameters
    ----------
    model
        Ready for `score`.
    drift
        Differences of stain, size and anomaly from the training in its deviations, by name.
    sentences
        The same in words.
    """

    model: Model
    drift: dict[str, float]
    sentences: list[str]

    def __repr__(self) -> str:
        return f"Calibration({self.model!r}; see .sentences)"


def calibrate(
    controls: Place,
    out: Place,
    model: Model | Place | None = None,
    *,
    control: str | None = None,
    progress: Show = False,
) -> Calibration:
    """Refer a model to one's own control smears, in seconds and without training.

    Parameters
    ----------
    controls
        Folder of control smears, ``patient/image``, or a cell list.
    out
        File for the calibrated model, or a folder that gets a ``bundle.safetensors``.
    model
        The model that ships with the program if not given.
    control
        Name of the control class, if not that of the model.
    progress
        True for a progress bar, or a function that is called with every event.

    Raises
    ------
    AmilError
        If there are too few control cells, a single image, or samples that are no controls.
    """
    chosen, finished = as_model(model), Finished()
    recipe = chosen.recipe()
    opening = pipeline.opening_controls(Path(controls), control or recipe.settings.control)
    source = pipeline.cohort_source(finished.run(opening))
    calibrated = finished.run(pipeline.calibrate(source, recipe), progress)
    finished.warn()
    target = Path(out)
    target = target / "bundle.safetensors" if target.is_dir() else target
    pipeline.save_bundle(calibrated.bundle, target)
    sentences = list(pipeline.drift_sentences(calibrated.drift))
    return Calibration(Model(calibrated.bundle, target, chosen.device), calibrated.drift, sentences)
