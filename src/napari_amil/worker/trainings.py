"""Jobs before a training: choices, cohort, problems, cost; calibration; annotated images."""

from __future__ import annotations

import dataclasses
from functools import partial

from napari_amil.core import pipeline
from napari_amil.worker.inputs import Work, bundle_path, load_cells, load_image
from napari_amil.worker.protocol.messages import (
    AnnotatedImage,
    AnnotatedRead,
    AnnotatedWritten,
    Arrange,
    Arranged,
    Calibrate,
    Calibrated,
    CheckCohort,
    CohortChecked,
    CohortRead,
    Estimated,
    EstimateTraining,
    ListChoices,
    Problem,
    ReadAnnotated,
    ReadCohort,
    TrainingChoices,
    WriteAnnotated,
)


def choices(_: ListChoices) -> Work[TrainingChoices]:
    """Return presets and devices."""
    yield from ()
    presets = {name: pipeline.preset(name) for name in pipeline.PRESETS}
    return TrainingChoices(presets=presets, devices=pipeline.device_names())


def read_cohort(request: ReadCohort) -> Work[CohortRead]:
    """Write the table of bags; without a control class only name the classes."""
    yield from ()
    names = pipeline.class_names(request.cohort)
    control = request.control if request.control in names else pipeline.guess_control(names)
    if control is None:
        return CohortRead(classes=tuple(names), control=None)
    found = pipeline.read_cohort(request.cohort, control)
    target = request.out / "bags.csv"
    pipeline.write_table(pipeline.bag_table(found), target)
    return CohortRead(
        classes=tuple(found.classes),
        control=control,
        bags=target,
        clinical=tuple(pipeline.clinical_columns(found)),
        notes=found.notes,
        unsupported=pipeline.unsupported_reason(found),
    )


def check(request: CheckCohort) -> Work[CohortChecked]:
    """Return every problem of a cohort; each image is read once."""
    found = pipeline.read_cohort(request.cohort, request.control)
    problems = yield from pipeline.checking(found, request.settings.model.embedding_dim)
    rows = (Problem(severity=each.severity, message=each.message, kind=each.kind) for each in problems)
    return CohortChecked(problems=tuple(rows))


def estimate(request: EstimateTraining) -> Work[Estimated]:
    """Return the cost of a training, from a few real steps."""
    bundle = pipeline.load_bundle(bundle_path(request.bundle))
    recipe = pipeline.Recipe.for_training(bundle, request.settings, pipeline.pick_device(request.device))
    source = pipeline.cohort_source(pipeline.read_cohort(request.cohort, request.settings.control))
    found = yield from pipeline.estimating(source, recipe, request.trainings)
    return Estimated(**dataclasses.asdict(found), device=recipe.device.type)


def calibrate(request: Calibrate) -> Work[Calibrated]:
    """Refer a model to other control smears, write it, and say how they differ."""
    bundle = pipeline.load_bundle(bundle_path(request.bundle))
    recipe = pipeline.Recipe.from_bundle(bundle, None, pipeline.pick_device(request.device))
    found = pipeline.read_controls(request.controls, bundle.settings.control)
    calibrated = yield from pipeline.calibrate(pipeline.cohort_source(found), recipe)
    pipeline.save_bundle(calibrated.bundle, request.target)
    drift = calibrated.drift
    return Calibrated(
        bundle=str(request.target),
        sentences=tuple(pipeline.drift_sentences(drift)),
        differs=pipeline.differs(drift),
    )


def arrange(request: Arrange) -> Work[Arranged]:
    """Copy images into a folder cohort."""
    images = [pipeline.Placed(each.path, each.label, each.patient, each.sample) for each in request.images]
    out = yield from pipeline.arranging(images, request.target)
    return Arranged(cohort=out)


def read_annotated(request: ReadAnnotated) -> Work[AnnotatedRead]:
    """List the images that a detector would learn from."""
    table = yield from pipeline.annotated_table(request.place, request.share, request.seed)
    return AnnotatedRead(images=tuple(AnnotatedImage(**row) for row in table.to_dict("records")))


def write_annotated(request: WriteAnnotated) -> Work[AnnotatedWritten]:
    """Write open images and their cells as an annotated folder."""
    images = [
        pipeline.Corrected(
            each.name,
            each.patient,
            partial(load_image, each),
            load_cells(each.cells),
        )
        for each in request.images
    ]
    out = yield from pipeline.writing_annotated(images, request.target)
    return AnnotatedWritten(annotated=out)
