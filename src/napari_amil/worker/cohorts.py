"""Jobs on a scored cohort: score it, lay it out, find what no class explains, report on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from napari_amil.core import pipeline
from napari_amil.core.base.events import Step
from napari_amil.worker.request import Answer, Request, recipe_of


def score_cohort(request: Request) -> Answer:
    """Score the bags of ``inputs`` that the folder ``out`` does not hold yet."""
    recipe = recipe_of(request)
    if not request.get("settings"):
        recipe = pipeline.Recipe.from_bundle(recipe.bundle, None, recipe.device)
    source = pipeline.open_source([Path(name) for name in request["inputs"]], recipe.settings.control)
    out = pipeline.make_folder(Path(request["out"]))
    bundle = Path(request["bundle"]) if request.get("bundle") else None
    project = yield from pipeline.score_cohort(source, recipe, bundle, out)
    return {"folder": str(out), "n_bags": len(project.bags), "n_cells": len(project.cells)}


def lay_out(request: Request) -> Answer:
    """Lay out the cells of the scored ``folder`` by t-SNE or UMAP and keep the places there."""
    layout = request.get("layout", "tsne")
    target = Path(request["folder"]) / f"map-{layout}.npy"
    project = pipeline.read_project(target.parent)
    yield Step("map", 0, 0, f"Laying out {len(project.cells):,} cells; this may take minutes")
    pipeline.write_map(project, target, layout)
    return {"map": str(target)}


def explore(request: Request) -> Answer:
    """Find clusters of unusual cells in the scored ``folder`` and keep them there."""
    folder = Path(request["folder"])
    settings = pipeline.ClusterSettings.parse(
        {name: request[name] for name in ("percentile", "min_cells", "unexplained")}
    )
    project = pipeline.read_project(folder)
    found = yield from pipeline.explore_project(
        project, settings, folder / pipeline.EXPLORATION, pictures=False
    )
    return {"folder": str(folder), "n_clusters": len(found.table)}


def name_cluster(request: Request) -> Answer:
    """Make the ``cluster`` of the scored ``folder`` a candidate class called ``name``."""
    folder = Path(request["folder"])
    yield Step("candidate", 0, 0, "Writing the cell list")
    project = pipeline.read_project(folder)
    found = pipeline.read_exploration(project, folder / pipeline.EXPLORATION)
    named = pipeline.name_cluster(project, found.clusters, request["cluster"], request["name"], folder)
    return {**dataclasses.asdict(named), "path": str(named.path), "folder": str(folder)}


def report(request: Request) -> Answer:
    """Write the pages of the scored ``folder``, of the cohort and of every sample, into it."""
    folder = Path(request["folder"])
    project = pipeline.read_project(folder)
    bags = project.bags["bag"].tolist()
    found = pipeline.find_exploration(project, folder)
    out = pipeline.make_folder(folder / "report")
    written = yield from pipeline.write_reports(project, out, bags, found=found)
    return {"page": str(written[0]), "n_samples": len(bags)}


def compare(request: Request) -> Answer:
    """Compare the two ``groups`` of a table in the scored ``folder``; write the figures to ``out``."""
    folder, out = Path(request["folder"]), Path(request["out"])
    yield Step("compare", 0, 0, "Dealing patients to the groups at random")
    project = pipeline.read_project(folder)
    found = pipeline.find_exploration(project, folder)
    if found is None:
        yield Step("compare", 0, 0, "Without clusters, since none were found in these cells")
    pipeline.compare_project(project, found, Path(request["groups"]), out)
    return {"table": str(out / "groups.csv")}
