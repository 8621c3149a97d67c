"""Jobs before and beside a training: what it would learn from, what it would cost, whose controls count."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from napari_amil.core import pipeline
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells
from napari_amil.worker.request import Answer, Request, arrays_of, bundle_path, image_of


def choices(request: Request) -> Answer:
    """Return what a training can choose from: presets with their settings, and devices."""
    yield from ()
    presets = {name: pipeline.preset(name).model_dump(mode="json") for name in pipeline.PRESETS}
    return {"presets": presets, "devices": pipeline.device_names()}


def cohort(request: Request) -> Answer:
    """Write the bags of a cohort to ``out``; without a class called ``control`` only name the classes."""
    yield from ()
    path = Path(request["cohort"])
    names = pipeline.class_names(path)
    wanted = request.get("control") or ""
    control = wanted if wanted in names else pipeline.guess_control(names)
    if control is None:
        return {"classes": names, "control": None}
    found = pipeline.read_cohort(path, control)
    target = Path(request["out"]) / "bags.csv"
    pipeline.write_table(pipeline.bag_table(found), target)
    return {
        "classes": list(found.classes),
        "control": control,
        "bags": str(target),
        "clinical": pipeline.clinical_columns(found),
    }


def check(request: Request) -> Answer:
    """Return every problem of a cohort; each image is read once."""
    dimensions = RunSettings.parse(request.get("settings") or {}).model.embedding_dim
    found = pipeline.read_cohort(Path(request["cohort"]), request["control"])
    problems = yield from pipeline.checking(found, dimensions)
    return {"problems": [dataclasses.asdict(problem) for problem in problems]}


def estimate(request: Request) -> Answer:
    """Return what a training of ``cohort`` would cost, from a few real steps."""
    settings = RunSettings.parse(request["settings"])
    bundle = pipeline.load_bundle(bundle_path(request))
    recipe = pipeline.Recipe.for_training(
        bundle, settings, pipeline.pick_device(request.get("device", "auto"))
    )
    source = pipeline.cohort_source(pipeline.read_cohort(Path(request["cohort"]), settings.control))
    found = yield from pipeline.estimating(source, recipe, request.get("trainings", 1))
    return {**dataclasses.asdict(found), "device": recipe.device.type}


def calibrate(request: Request) -> Answer:
    """Refer a model to the smears in ``controls`` and write it to ``target``; say how they differ."""
    path = bundle_path(request)
    bundle = pipeline.load_bundle(path)
    recipe = pipeline.Recipe.from_bundle(bundle, None, pipeline.pick_device(request.get("device", "auto")))
    found = pipeline.read_controls(Path(request["controls"]), bundle.settings.control)
    calibrated = yield from pipeline.calibrate(pipeline.cohort_source(found), recipe)
    target = Path(request["target"])
    pipeline.save_bundle(calibrated.bundle, target)
    sentences, differs = pipeline.drift_sentences(calibrated.drift), pipeline.differs(calibrated.drift)
    return {"bundle": str(target), "sentences": sentences, "differs": differs}


def arrange(request: Request) -> Answer:
    """Copy the ``images`` (path, class, patient, sample) into a folder cohort ``target``."""
    images = [pipeline.Placed(Path(path), *names) for path, *names in request["images"]]
    out = yield from pipeline.arranging(images, Path(request["target"]))
    return {"cohort": str(out)}


def annotated(request: Request) -> Answer:
    """Return what a detector would learn from in ``place``, a row for each image."""
    table = yield from pipeline.annotated_table(
        Path(request["place"]), request["share"], request.get("seed", 0)
    )
    return {"images": table.to_dict("records")}


def annotate(request: Request) -> Answer:
    """Write ``images`` (``name``, ``patient``, ``image``, ``cells``) as an annotated folder ``target``."""
    images = [
        pipeline.Corrected(
            each["name"],
            each["patient"],
            partial(image_of, each),
            Cells.from_arrays(arrays_of(each["cells"])),
        )
        for each in request["images"]
    ]
    out = yield from pipeline.writing_annotated(images, Path(request["target"]))
    return {"annotated": str(out)}
