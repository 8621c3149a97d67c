"""The child process that does what needs torch: one JSON request a line in, events and results out.

``{"event": "Ready"}`` is said once the networks can be used. A request has an ``id``, which every
answer repeats, and a ``job``, one of `JOBS`. Arrays travel through files, so
that a line stays short. Killing the process is how a job is cancelled.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from napari_amil.core import pipeline
from napari_amil.core.errors import AmilError
from napari_amil.core.events import Event, Step, drain, to_dict
from napari_amil.core.settings import RunSettings
from napari_amil.core.types import Cells, Image

Request = dict[str, Any]
Job = Callable[[Request], Generator[Event, None, dict[str, Any]]]
_SECONDS_BETWEEN_STEPS = 0.1


@lru_cache(maxsize=2)
def _bundle(path: Path, _written: float) -> pipeline.Bundle:
    return pipeline.load_bundle(path)


def _recipe(request: Request) -> pipeline.Recipe:
    settings = RunSettings.parse(request.get("settings") or {})
    device = pipeline.pick_device(request.get("device", "auto"))
    path = _bundle_path(request)
    written = path.stat().st_mtime if path.exists() else 0.0  # a file that is written anew is read anew
    return pipeline.Recipe.of(_bundle(path, written), settings, device)


def _bundle_path(request: Request) -> Path:
    return Path(request["bundle"]) if request.get("bundle") else pipeline.starter_path()


def _image(request: Request) -> Image:
    path = Path(request["image"])
    return np.load(path, allow_pickle=False) if path.suffix == ".npy" else pipeline.read_image(path)


@contextmanager
def _field(request: Request) -> Iterator[pipeline.Field]:
    """Open ``image``, of which a large one is read window by window."""
    if Path(request["image"]).suffix == ".npy":
        yield pipeline.as_field(_image(request))
    else:
        with pipeline.open_field(Path(request["image"])) as field:
            yield field


def detect(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Find the candidates of ``image`` and write them to ``out``; ``source`` may tell the pixel size."""
    recipe = _recipe(request)
    if request.get("source"):
        recipe = yield from pipeline.recipe_for(recipe, Path(request["source"]), Path(request["source"]).name)
    with _field(request) as field:
        candidates = yield from pipeline.detect_in(field, recipe)
    target = Path(request["out"]) / f"candidates-{request['id']}.npz"
    np.savez(target, allow_pickle=False, **candidates.cells.arrays())
    return {"candidates": str(target), "diameter_px": candidates.diameter_px}


def score(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Score the ``cells`` of ``image`` as one bag and write the columns to ``out``."""
    recipe = _recipe(request)
    with np.load(request["cells"], allow_pickle=False) as stored:
        cells = Cells.from_arrays(stored)
    yield Step("score", 0, 2, "Embedding cells")
    with _field(request) as field:
        known = yield from pipeline.measured_field(field, cells, recipe)
    yield Step("score", 1, 2, "Weighing cells")
    scores, bag = pipeline.score_bag("image", {"image": cells}, known["latents"], recipe)
    out, number = Path(request["out"]), request["id"]
    usual = recipe.bundle.need_scorer().morphology
    table = scores.table.join(pipeline.morphology_columns(known["measurements"], usual))
    table.insert(0, "cell_id", cells.cell_id)
    pipeline.write_table(table, out / f"scores-{number}.csv")
    evidence = pipeline.field_evidence(table, known["latents"], recipe, _model_name(request))
    np.savez(out / f"evidence-{number}.npz", allow_pickle=False, **evidence)
    said = {**asdict(bag), "control": recipe.bundle.settings.control}
    said["verdict_settings"] = recipe.settings.verdict.model_dump()
    files = {"scores": str(out / f"scores-{number}.csv"), "evidence": str(out / f"evidence-{number}.npz")}
    return {**files, "bag": said, "classes": list(bag.probability)}


def _model_name(request: Request) -> str:
    path = _bundle_path(request)
    return f"{path}, written {path.stat().st_mtime}"


def _arrays(path: str) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def neighbours(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Find the cells of each group that the cell ``(image, cell_id)`` is most like.

    ``groups`` holds ``group -> image -> file`` of evidence, as ``score`` wrote it.
    """
    yield from ()
    groups = {
        group: {image: _arrays(path) for image, path in members.items()}
        for group, members in request["groups"].items()
    }
    image, cell_id = request["cell"]
    return {"cell": [image, cell_id], "groups": pipeline.nearest_cells((image, cell_id), groups)}


def deletion(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Remove cells from the field of ``evidence`` and score the rest."""
    return (yield from pipeline.delete_from_field(_arrays(request["evidence"]), _recipe(request)))


def score_cohort(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Score the bags of ``inputs`` that the folder ``out`` does not hold yet."""
    recipe = _recipe(request)
    if not request.get("settings"):
        recipe = pipeline.Recipe.of(recipe.bundle, None, recipe.device)
    source = pipeline.open_source([Path(name) for name in request["inputs"]], recipe.settings.control)
    out = pipeline.make_folder(Path(request["out"]))
    bundle = Path(request["bundle"]) if request.get("bundle") else None
    project = yield from pipeline.scoring_project(source, recipe, bundle, out)
    return {"folder": str(out), "n_bags": len(project.bags), "n_cells": len(project.cells)}


def lay_out(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Lay out the cells of the scored ``folder`` by t-SNE or UMAP and keep the places there."""
    layout = request.get("layout", "tsne")
    target = Path(request["folder"]) / f"map-{layout}.npy"
    project = pipeline.read_project(target.parent)
    yield Step("map", 0, 0, f"Laying out {len(project.cells):,} cells; this may take minutes")
    pipeline.write_map(project, target, layout)
    return {"map": str(target)}


def explore(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Find clusters of unusual cells in the scored ``folder`` and keep them there."""
    folder = Path(request["folder"])
    settings = pipeline.ClusterSettings(request["percentile"], request["min_cells"], request["unexplained"])
    project = pipeline.read_project(folder)
    found = yield from pipeline.explore_project(
        project, settings, folder / pipeline.EXPLORATION, pictures=False
    )
    return {"folder": str(folder), "n_clusters": len(found.table)}


def name_cluster(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Make the ``cluster`` of the scored ``folder`` a candidate class called ``name``."""
    folder = Path(request["folder"])
    yield Step("candidate", 0, 0, "Writing the cell list")
    project = pipeline.read_project(folder)
    found = pipeline.read_exploration(project, folder / pipeline.EXPLORATION)
    named = pipeline.name_cluster(project, found.clusters, request["cluster"], request["name"], folder)
    return {**dataclasses.asdict(named), "path": str(named.path), "folder": str(folder)}


def compare(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Compare the two ``groups`` of a table in the scored ``folder``; write the figures to ``out``."""
    folder, out = Path(request["folder"]), Path(request["out"])
    yield Step("compare", 0, 0, "Dealing patients to the groups at random")
    project = pipeline.read_project(folder)
    found: pipeline.Exploration | None = None  # clusters need not have been looked for
    try:
        found = pipeline.read_exploration(project, folder / pipeline.EXPLORATION)
    except AmilError:
        yield Step("compare", 0, 0, "Without clusters, since none were found in these cells")
    pipeline.compare_project(project, found, Path(request["groups"]), out)
    return {"table": str(out / "groups.csv")}


def info(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Return the card of a bundle."""
    header = pipeline.read_card(_bundle_path(request))
    yield from ()
    return {"card": header["card"], "settings": header["settings"], "classes": header.get("classes", [])}


def choices(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Return what a training can choose from: presets with their settings, and devices."""
    yield from ()
    presets = {name: pipeline.preset(name).model_dump(mode="json") for name in pipeline.PRESETS}
    return {"presets": presets, "devices": pipeline.device_names()}


def cohort(request: Request) -> Generator[Event, None, dict[str, Any]]:
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


def check(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Return every problem of a cohort; each image is read once."""
    dimensions = RunSettings.parse(request.get("settings") or {}).model.embedding_dim
    found = pipeline.read_cohort(Path(request["cohort"]), request["control"])
    problems = yield from pipeline.checking(found, dimensions)
    return {"problems": [dataclasses.asdict(problem) for problem in problems]}


def estimate(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Return what a training of ``cohort`` would cost, from a few real steps."""
    settings = RunSettings.parse(request["settings"])
    bundle = pipeline.load_bundle(_bundle_path(request))
    recipe = pipeline.Recipe.for_training(
        bundle, settings, pipeline.pick_device(request.get("device", "auto"))
    )
    source = pipeline.cohort_source(pipeline.read_cohort(Path(request["cohort"]), settings.control))
    found = yield from pipeline.estimating(source, recipe, request.get("trainings", 1))
    return {**dataclasses.asdict(found), "device": recipe.device.type}


def calibrate(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Refer a model to the smears in ``controls`` and write it to ``target``; say how they differ."""
    path = _bundle_path(request)
    bundle = pipeline.load_bundle(path)
    recipe = pipeline.Recipe.of(bundle, None, pipeline.pick_device(request.get("device", "auto")))
    found = pipeline.read_controls(Path(request["controls"]), bundle.settings.control)
    calibrated = yield from pipeline.calibrate(pipeline.cohort_source(found), recipe)
    target = Path(request["target"])
    pipeline.save_bundle(calibrated.bundle, target)
    sentences, differs = pipeline.drift_sentences(calibrated.drift), pipeline.differs(calibrated.drift)
    return {"bundle": str(target), "sentences": sentences, "differs": differs}


def arrange(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Copy the ``images`` (path, class, patient, sample) into a folder cohort ``target``."""
    images = [pipeline.Placed(Path(path), *names) for path, *names in request["images"]]
    out = yield from pipeline.arranging(images, Path(request["target"]))
    return {"cohort": str(out)}


def annotated(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Return what a detector would learn from in ``place``, a row for each image."""
    table = yield from pipeline.annotated_table(
        Path(request["place"]), request["share"], request.get("seed", 0)
    )
    return {"images": table.to_dict("records")}


def annotate(request: Request) -> Generator[Event, None, dict[str, Any]]:
    """Write ``images`` (``name``, ``patient``, ``image``, ``cells``) as an annotated folder ``target``."""
    images = [
        pipeline.Corrected(
            each["name"],
            each["patient"],
            partial(_image, each),
            Cells.from_arrays(_arrays(each["cells"])),
        )
        for each in request["images"]
    ]
    out = yield from pipeline.writing_annotated(images, Path(request["target"]))
    return {"annotated": str(out)}


JOBS: dict[str, Job] = {
    "annotate": annotate,
    "annotated": annotated,
    "detect": detect,
    "score": score,
    "neighbours": neighbours,
    "deletion": deletion,
    "info": info,
    "choices": choices,
    "cohort": cohort,
    "check": check,
    "estimate": estimate,
    "calibrate": calibrate,
    "arrange": arrange,
    "score_cohort": score_cohort,
    "map": lay_out,
    "explore": explore,
    "name_cluster": name_cluster,
    "compare": compare,
}


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until the stream ends; a job that fails answers with one sentence."""

    def say(**record: Any) -> None:  # noqa: ANN401
        replies.write(json.dumps(record) + "\n")
        replies.flush()

    say(event="Ready")
    for line in requests:
        request = json.loads(line)
        number = request["id"]

        def tell(event: Event, number: int = number) -> None:
            say(id=number, **to_dict(event))

        try:
            result = drain(JOBS[request["job"]](request), _slowed(tell))
        except AmilError as error:
            say(id=number, event="Error", message=str(error))
        except Exception as error:  # noqa: BLE001 - the window must hear of every failure
            say(id=number, event="Error", message=f"The work stopped: {type(error).__name__}: {error}.")
        else:
            say(id=number, event="Result", **result)


def _slowed(say: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return ``say`` with at most ten steps a second; other events always pass."""
    last = -1.0

    def passed(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        if (
            isinstance(event, Step)
            and event.done < event.total
            and now - last < _SECONDS_BETWEEN_STEPS
            and last > 0
        ):
            return
        last = now
        say(event)

    return passed


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
