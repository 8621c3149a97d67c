"""Fine-tune a detector on annotated images, or train it on annotations that the program makes."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_amil.core.base.errors import CohortError, ImageError
from napari_amil.core.base.events import STOP_FILE, Event, Warned
from napari_amil.core.base.outputs import environment, make_folder, write_json, write_text
from napari_amil.core.base.settings import DetectorTrainingSettings, RunSettings
from napari_amil.core.base.types import Image
from napari_amil.core.detection.annotated_field import annotated_field
from napari_amil.core.detection.augment import AnnotatedField
from napari_amil.core.detection.network import build_detector, load_coco_weights
from napari_amil.core.detection.train import TrainedDetector, Watch, first_annotation, train_detector
from napari_amil.core.detection.validation import Validation, ValidationField
from napari_amil.core.exchange.annotation import left_out_sentence
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.images.normalise import normalise
from napari_amil.core.images.read import ImageSource, read_image
from napari_amil.core.instances.executor import SERIAL, Executor, map_fields
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.model.bundle import INTENDED_USE, Bundle, load_bundle, save_bundle
from napari_amil.core.pipeline.annotated import Annotated, validation_images
from napari_amil.core.pipeline.held_out import HeldOut, write_held_out
from napari_amil.core.pipeline.run_folder import in_run_folder

_OF_SCORER = ("scorer", "calibration")  # entries of a card that stay true with another detector
COCO = "coco:"
"""Prefix of a file of COCO weights in the name of a start."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A fine-tuned detector and how good it is.

    Parameters
    ----------
    bundle
        The detector; with the scorer of the bundle that it started from, where that may stay.
    figures
        ``before`` and ``after`` on the validation images; empty without any.
    """

    bundle: Bundle
    figures: dict[str, dict[str, float]]


def start_detector(start: str, settings: RunSettings) -> Bundle:
    """Return the bundle from which a detector's training starts.

    Parameters
    ----------
    start
        ``starter``, ``nothing``, ``coco:FILE`` with torchvision's COCO weights, or a bundle.
    settings
        Of the run.

    Raises
    ------
    BundleError
        If the file cannot be used.
    """
    if start == "nothing":
        return Bundle(settings)
    if start.startswith(COCO):
        model = build_detector("resnet50")
        load_coco_weights(model, Path(start.removeprefix(COCO)))
        return Bundle(settings, model, "resnet50")
    loaded = load_bundle(None if start == "starter" else Path(start))
    loaded.need_detector()
    return loaded


def detector_run(
    opening: Generator[Event, None, Annotated],
    recipe: Recipe,
    settings: DetectorTrainingSettings,
    out: Path,
    further: Sequence[AnnotatedField] = (),
) -> Generator[Event, None, FineTuned]:
    """Open annotated images, fine-tune the detector on them, and write its bundle into the run folder.

    Besides what `fine_tune_detector` writes the folder gets ``run.yaml``, ``events.jsonl``,
    ``bundle.safetensors`` and ``environment.json``. While a file ``pause`` is in it the work waits. From
    ``further`` fields the detector learns as well (`further_fields`, `made_fields`).

    Raises
    ------
    AmilError
        If no image can be used, or another process is working in the folder.
    """

    def work() -> Generator[Event, None, FineTuned]:
        write_text(recipe.bundle.settings.to_yaml(), out / "run.yaml")
        write_json(environment(), out / "environment.json")
        annotated = yield from opening
        tuned = yield from fine_tune_detector(annotated, recipe, settings, out, further)
        save_bundle(tuned.bundle, out / "bundle.safetensors")
        return tuned

    return (yield from in_run_folder(work(), make_folder(out)))


def fine_tune_detector(
    annotated: Annotated,
    recipe: Recipe,
    settings: DetectorTrainingSettings,
    out: Path,
    further: Sequence[AnnotatedField] = (),
) -> Generator[Event, None, FineTuned]:
    """Train the detector of the recipe on annotated images, and measure it before and after.

    The folder gets ``images.csv``, ``checkpoint.safetensors``, ``metrics.json`` and ``held-out.json``
    (`write_held_out`); a file ``stop`` in it ends the training after the step that runs.

    Parameters
    ----------
    annotated
        Images, annotations and patients.
    recipe
        The detector to start from; a fresh one is trained where there is none.
    settings
        Steps, learning rate and share of validation images.
    out
        Folder of the run, which exists.
    further
        Fields of other sources to learn from.

    Raises
    ------
    CohortError
        If no image can be used.
    """
    started = time.monotonic()
    judges = validation_images(annotated, settings.validation_share, settings.seed)
    if not judges and settings.validation_share > 0:
        yield Warned(
            "No patient could be set apart for validation, so the last weights are kept and nothing is "
            "measured; annotate images of a second patient."
        )
    fields, validation = yield from _prepared(annotated, set(judges), recipe)
    fields += further
    write_table(annotated.table(judges), out / "images.csv")
    stop = out / STOP_FILE
    held = [each.field for each in validation.values()]
    judge = Validation(held, recipe.settings, recipe.device) if held else None
    old = copy.deepcopy(recipe.bundle.detector)
    watch, checkpoint = Watch(judge, stop), out / "checkpoint.safetensors"
    trained: TrainedDetector = yield from train_detector(
        fields, settings, recipe.device, checkpoint, recipe.bundle.detector, watch
    )
    detectors = {"before": old, "after": trained.model} if old is not None else {"after": trained.model}
    if validation:
        yield from write_held_out(validation, detectors, recipe, out)
    stop.unlink(missing_ok=True)
    figures = _before_and_after(trained)
    write_json({**figures, **_facts(trained)}, out / "metrics.json")
    own = {"annotations": "given by the user", "n_validation_images": len(validation)}
    card = _card(fields, settings, started) | own | figures | _facts(trained)
    return FineTuned((yield from _bundled(recipe, trained, settings, card)), figures)


def _prepared(
    annotated: Annotated, judges: set[str], recipe: Recipe
) -> Generator[Event, None, tuple[list[AnnotatedField], dict[str, HeldOut]]]:
    """Return the training fields and the held-out ones; an image that cannot be used is a `Failed`."""
    prepared = yield from map_fields(
        partial(_prepared_field, annotated=annotated, judges=judges, settings=recipe.settings),
        annotated.images,
        "read",
        recipe.executor,
    )
    fields = [field for field in prepared.values() if isinstance(field, AnnotatedField)]
    if not fields:
        raise CohortError("No image could be used to train the detector; the reasons are listed above.")
    return fields, {name: held for name, held in prepared.items() if isinstance(held, HeldOut)}


def _prepared_field(
    name: str, source: ImageSource, annotated: Annotated, judges: set[str], settings: RunSettings
) -> Generator[Event, None, AnnotatedField | HeldOut]:
    """Return a normalised image with its annotated cells, to learn from or to validate on."""
    image: Image = read_image(source.path, source.page)
    own = annotated.annotations[name].within(name, (image.shape[0], image.shape[1]))
    if own.left_out:
        yield Warned(left_out_sentence(name, own.left_out))
    field = normalise(image, settings.normalisation)
    if name in judges:
        return HeldOut(source, ValidationField(field, own.cells, own.complete))
    white = {row for row, record in enumerate(own.records) if record.get("kind") in annotated.white}
    diameter_px = settings.detection.cell_diameter_px
    return annotated_field(field, own.cells, complete=own.complete, diameter_px=diameter_px, white=white)


def further_fields(
    opening: Generator[Event, None, Annotated], recipe: Recipe, held_out_fold: int | None = None
) -> Generator[Event, None, list[AnnotatedField]]:
    """Return the annotated images of another source, from which a detector learns as well.

    Where the source knows folds, images of ``held_out_fold`` are left out.

    Raises
    ------
    AmilError
        If no image can be used.
    """
    annotated = yield from opening
    if any(own.fold is not None for own in annotated.annotations.values()):
        annotated = annotated.without_fold(held_out_fold)
    return (yield from _prepared(annotated, set(), recipe))[0]


def _before_and_after(trained: TrainedDetector) -> dict[str, dict[str, float]]:
    """Return the figures of the start and of the weights that were kept."""
    if 0 not in trained.figures:
        return {}
    return {"before": trained.figures[0], "after": trained.figures[trained.best_step]}


def _facts(trained: TrainedDetector) -> dict[str, Any]:
    return {"steps": trained.steps, "best_step": trained.best_step, "stopped": trained.stopped}


def _card(
    fields: Sequence[AnnotatedField], settings: DetectorTrainingSettings, started: float
) -> dict[str, Any]:
    """Return the entries of the card that all trainings of a detector share."""
    return {
        "n_images": len(fields),
        "n_cells": int(sum(len(np.unique(field.planes)) - 1 for field in fields)),
        "settings": settings.model_dump(mode="json"),
        "seconds": round(time.monotonic() - started),
    }


def _bundled(
    recipe: Recipe, trained: TrainedDetector, settings: DetectorTrainingSettings, card: dict[str, Any]
) -> Generator[Event, None, Bundle]:
    """Return the detector as a bundle, with the scorer that was there unless it reads the detector's maps."""
    scorer = recipe.bundle.scorer
    if scorer is not None and recipe.settings.model.instance == "roi":
        yield Warned(
            "The scorer of the bundle reads the feature maps of its old detector, so it is left out; "
            "train it anew with 'napari-amil train'."
        )
        scorer = None
    # what the old card says of results was measured with the old detector
    kept = {name: recipe.bundle.card[name] for name in _OF_SCORER if name in recipe.bundle.card and scorer}
    bundle = Bundle(recipe.bundle.settings, trained.model.cpu(), settings.backbone, scorer, kept)
    return bundle.with_card(intended_use=INTENDED_USE, detector=card)


def train_detector_on(
    files: dict[str, tuple[Path, int]],
    recipe: Recipe,
    settings: DetectorTrainingSettings,
    checkpoint: Path | None,
    further: Sequence[AnnotatedField] = (),
) -> Generator[Event, None, Bundle]:
    """Annotate the images classically, train the Mask R-CNN on them, and return it as a bundle.

    A scorer of the bundle that it starts from stays, unless it reads the detector's maps. From ``further``
    fields it learns as well; where these have white cells, those of the images are painted over.

    Raises
    ------
    CohortError
        If no image can be used.
    """
    started = time.monotonic()
    hide_white = any(field.white for field in further)
    work = annotate_images(files, recipe.settings, recipe.executor, hide_white=hide_white)
    fields = (yield from work) + list(further)
    if not fields:
        raise CohortError("No image could be used to train the detector; the reasons are listed above.")
    stop = None if checkpoint is None else checkpoint.with_name(STOP_FILE)
    if stop is not None:
        stop.unlink(missing_ok=True)
    trained: TrainedDetector = yield from train_detector(
        fields, settings, recipe.device, checkpoint, recipe.bundle.detector, Watch(stop=stop)
    )
    if stop is not None:
        stop.unlink(missing_ok=True)
    card = {
        **_card(fields, settings, started),
        "annotations": "classical segmentation (Otsu, watershed), made by the program itself",
        "n_further_fields": len(further),
    }
    return (yield from _bundled(recipe, trained, settings, card))


def annotate_images(
    files: dict[str, tuple[Path, int]],
    settings: RunSettings,
    executor: Executor = SERIAL,
    *,
    hide_white: bool = False,
) -> Generator[Event, None, list[AnnotatedField]]:
    """Return the first annotations of every usable image; yield a `Step` per image."""
    work = partial(_annotated_field, settings=settings, hide_white=hide_white)
    fields = yield from map_fields(work, files, "annotate", executor)
    return list(fields.values())


def _annotated_field(
    name: str, place: tuple[Path, int], settings: RunSettings, hide_white: bool
) -> Generator[Event, None, AnnotatedField]:
    """Return the first annotations of an image."""
    yield from ()  # no messages
    normalised = normalise(read_image(*place), settings.normalisation)
    field = first_annotation(normalised, hide_white=hide_white)
    if field is None:
        raise ImageError(f"No cell stands out in '{name}'; check that it is a smear.")
    return field


def training_images(source: Source, held_out_fold: int | None) -> dict[str, tuple[Path, int]]:
    """Return the images of the bags outside ``held_out_fold``."""
    kept = source.cohort.where(lambda bag: held_out_fold is None or bag.fold != held_out_fold)
    names = {image for bag in kept for image in bag.images}
    if not names:
        raise CohortError(f"No image lies outside of fold {held_out_fold}; hold out another one.")
    return {name: place for name, place in source.files.items() if name in names}
