"""Jobs on one smear: find its cells, score them, say why."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from napari_amil.core import pipeline
from napari_amil.core.base.events import Step
from napari_amil.core.base.types import Cells
from napari_amil.worker.request import Answer, Request, arrays_of, bundle_path, field_of, recipe_of


def detect(request: Request) -> Answer:
    """Find the candidates of ``image`` and write them to ``out``; ``source`` may tell the pixel size."""
    recipe = recipe_of(request)
    if request.get("source"):
        recipe = yield from pipeline.recipe_for(recipe, Path(request["source"]), Path(request["source"]).name)
    with field_of(request) as field:
        candidates = yield from pipeline.detect_in(field, recipe)
    target = Path(request["out"]) / f"candidates-{request['id']}.npz"
    np.savez(target, allow_pickle=False, **candidates.cells.arrays())
    return {"candidates": str(target), "diameter_px": candidates.diameter_px}


def score(request: Request) -> Answer:
    """Score the ``cells`` of ``image`` as one bag and write the columns to ``out``."""
    recipe = recipe_of(request)
    with np.load(request["cells"], allow_pickle=False) as stored:
        cells = Cells.from_arrays(stored)
    yield Step("score", 0, 2, "Embedding cells")
    with field_of(request) as field:
        known = yield from pipeline.measured_field(field, cells, recipe)
    yield Step("score", 1, 2, "Weighing cells")
    scores, bag = pipeline.score_bag("image", {"image": cells}, known, recipe)
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
    path = bundle_path(request)
    return f"{path}, written {path.stat().st_mtime}"


def neighbours(request: Request) -> Answer:
    """Find the cells of each group that the cell ``(image, cell_id)`` is most like.

    ``groups`` holds ``group -> image -> file`` of evidence, as ``score`` wrote it.
    """
    yield from ()
    groups = {
        group: {image: arrays_of(path) for image, path in members.items()}
        for group, members in request["groups"].items()
    }
    image, cell_id = request["cell"]
    return {"cell": [image, cell_id], "groups": pipeline.nearest_cells((image, cell_id), groups)}


def deletion(request: Request) -> Answer:
    """Remove cells from the field of ``evidence`` and score the rest."""
    return (yield from pipeline.delete_from_field(arrays_of(request["evidence"]), recipe_of(request)))


def info(request: Request) -> Answer:
    """Return the card of a bundle."""
    header = pipeline.read_card(bundle_path(request))
    yield from ()
    return {"card": header["card"], "settings": header["settings"], "classes": header.get("classes", [])}
