"""Jobs on one image: detect cells, score them, explain the scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_amil.core import pipeline
from napari_amil.core.base.events import Step
from napari_amil.core.base.files import file_sha256
from napari_amil.core.base.settings import RunSettings
from napari_amil.worker.inputs import (
    Work,
    bundle_path,
    load_arrays,
    load_cells,
    load_recipe,
    open_input,
    recipe_of,
)
from napari_amil.worker.protocol.messages import (
    DeleteCells,
    DeletionCurves,
    Detect,
    Detected,
    FieldOfViewFound,
    FindFieldOfView,
    FindNearest,
    Info,
    ModelCard,
    NearestCells,
    RedrawCells,
    RedrawnCells,
    Score,
    Scored,
)


def detect(request: Detect) -> Work[Detected]:
    """Find the candidates of the image."""
    recipe = yield from recipe_of(request)
    with open_input(request) as field:
        yield from pipeline.notes_of(field, "This image")
        candidates = yield from pipeline.detect_in(field, recipe)
    target = request.out / "candidates.npz"
    np.savez(target, allow_pickle=False, **candidates.cells.arrays())
    return Detected(candidates=target, diameter_px=candidates.diameter_px)


def find_field_of_view(request: FindFieldOfView) -> Work[FieldOfViewFound]:
    """Find what counts as smear in the image."""
    yield from ()
    with open_input(request) as field:
        seen = pipeline.field_of_view(field)
    if seen is None:
        return FieldOfViewFound(mask=None, step=1)
    target = request.out / "field-of-view.npy"
    np.save(target, seen.mask, allow_pickle=False)
    return FieldOfViewFound(mask=target, step=seen.step)


def score(request: Score) -> Work[Scored]:
    """Score the cells of the image as one bag."""
    recipe = yield from recipe_of(request)
    cells = load_cells(request.cells)
    yield Step("score", 0, 2, "Embedding cells")
    with open_input(request) as field:
        yield from pipeline.notes_of(field, "This image")
        prepared = pipeline.prepare(field, recipe)
        prepared = yield from pipeline.at_scale_of(prepared, cells, recipe, request.agreed_px)
        known = yield from pipeline.measured_field(prepared, cells, recipe)
        notes = [pipeline.field_note(prepared, cells)]
        focus = pipeline.field_focus(prepared, cells, recipe)
    yield Step("score", 1, 2, "Weighing cells")
    scores, bag = pipeline.score_bag("image", {"image": cells}, known, recipe, notes)
    morphology = recipe.bundle.need_scorer().anomaly.morphology
    table = scores.table.join(pipeline.morphology_columns(known["measurements"], morphology))
    table.insert(0, "cell_id", cells.cell_id)
    look = pipeline.look_of(notes, focus, recipe.bundle.card, recipe.settings.verdict.max_drift)
    reply = Scored(
        scores=request.out / "scores.csv",
        evidence=request.out / "evidence.npz",
        bag=bag,
        control=recipe.bundle.settings.control,
        verdict_settings=recipe.settings.verdict,
        look=look.sentence,
        looks_alike=look.is_alike,
    )
    pipeline.write_table(table, reply.scores)
    evidence = pipeline.field_evidence(table, known["latents"], recipe, _model_name(request.bundle))
    digest = np.array(file_sha256(bundle_path(request.bundle)))
    np.savez(reply.evidence, allow_pickle=False, model_sha256=digest, **evidence)
    return reply


def _model_name(bundle: str | None) -> str:
    path = bundle_path(bundle)
    return f"{path}, written {path.stat().st_mtime}"


def find_nearest(request: FindNearest) -> Work[NearestCells]:
    """Find the cells of each group that one cell is most like."""
    yield from ()
    groups = {
        group: {image: load_arrays(path) for image, path in members.items()}
        for group, members in request.groups.items()
    }
    return NearestCells(cell=request.cell, groups=pipeline.nearest_cells(request.cell, groups))


def delete_cells(request: DeleteCells) -> Work[DeletionCurves]:
    """Remove cells from a scored field and score the rest."""
    recipe = load_recipe(request.bundle, RunSettings(), request.device)
    found = yield from pipeline.delete_from_field(load_arrays(request.evidence), recipe)
    return DeletionCurves(**found)


def redraw(request: RedrawCells) -> Work[RedrawnCells]:
    """Redraw the cells of the image as control cells."""
    recipe = yield from recipe_of(request)
    cells = load_cells(request.cells)
    yield Step("redraw", 0, len(cells), "Redrawing cells")
    with open_input(request) as field:
        prepared = pipeline.prepare(field, recipe)
        prepared = yield from pipeline.at_scale_of(prepared, cells, recipe, request.agreed_px)
        found = yield from pipeline.redraw_cells(prepared, cells, recipe, request.network)
    arrays: dict[str, Any] = {
        "cell_id": cells.cell_id,
        "cell": found.cell,
        "twin": found.drawn.twin,
        "heat": found.drawn.heat,
        "field": found.field,
    }
    arrays |= {} if found.drawn.memory is None else {"memory": found.drawn.memory}
    target = request.out / "redrawn.npz"
    np.savez(target, allow_pickle=False, **arrays)
    networks = pipeline.redrawing_scores(recipe.bundle.need_scorer().anomaly)
    return RedrawnCells(pictures=target, network=found.network, networks=tuple(networks))


def info(request: Info) -> Work[ModelCard]:
    """Return the card of a bundle."""
    yield from ()
    header = pipeline.read_card(bundle_path(request.bundle))
    return ModelCard(
        card=header["card"], settings=header["settings"], classes=tuple(header.get("classes", ()))
    )
