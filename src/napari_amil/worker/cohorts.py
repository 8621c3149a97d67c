"""Jobs on a scored cohort: score it, lay out its cells, find clusters, compare groups, write reports."""

from __future__ import annotations

from pathlib import Path

from napari_amil.core import pipeline
from napari_amil.core.base.events import Step
from napari_amil.worker.inputs import Work, load_recipe
from napari_amil.worker.protocol.messages import (
    CellsTyped,
    ClusterNamed,
    CohortScored,
    Compare,
    Compared,
    Explore,
    Explored,
    LayOutMap,
    MapWritten,
    NameCluster,
    Report,
    Reported,
    ScoreCohort,
    TypeCells,
)


def score_cohort(request: ScoreCohort) -> Work[CohortScored]:
    """Score the bags that the folder lacks."""
    recipe = load_recipe(request.bundle, request.settings, request.device)
    source = pipeline.open_source(list(request.inputs), recipe.settings.control)
    out = pipeline.make_folder(request.out)
    bundle = Path(request.bundle) if request.bundle else None
    project = yield from pipeline.score_cohort(source, recipe, bundle, out)
    return CohortScored(folder=out, n_bags=len(project.bags), n_cells=len(project.cells))


def lay_out(request: LayOutMap) -> Work[MapWritten]:
    """Lay out the cells of the folder by t-SNE or UMAP and keep the places there."""
    target = request.folder / f"map-{request.layout}.npy"
    project = pipeline.read_project(request.folder)
    yield Step("map", 0, 0, f"Laying out {len(project.cells):,} cells; this may take minutes")
    pipeline.write_map(project, target, request.layout)
    return MapWritten(map=target)


def explore(request: Explore) -> Work[Explored]:
    """Find clusters of unusual cells and keep them in the folder."""
    settings = pipeline.ClusterSettings.parse(request.model_dump(exclude={"folder"}))
    project = pipeline.read_project(request.folder)
    found = yield from pipeline.explore_project(
        project, settings, request.folder / pipeline.EXPLORATION, pictures=False
    )
    return Explored(folder=request.folder, n_clusters=len(found.table))


def name_cluster(request: NameCluster) -> Work[ClusterNamed]:
    """Make a cluster a candidate class."""
    folder = request.folder
    yield Step("candidate", 0, 0, "Writing the cell list")
    project = pipeline.read_project(folder)
    found = pipeline.read_exploration(project, folder / pipeline.EXPLORATION)
    named = pipeline.name_cluster(project, found.clusters, request.cluster, request.name, folder)
    return ClusterNamed(
        folder=folder, path=named.path, name=named.name, n_cells=named.n_cells, n_bags=named.n_bags
    )


def report(request: Report) -> Work[Reported]:
    """Write a page of the cohort and one of every sample."""
    project = pipeline.read_project(request.folder)
    bags = project.bags["bag"].tolist()
    found = pipeline.find_exploration(project, request.folder)
    out = pipeline.make_folder(request.folder / "report")
    written = yield from pipeline.write_reports(project, out, bags, found=found)
    return Reported(page=written[0], n_samples=len(bags))


def compare(request: Compare) -> Work[Compared]:
    """Compare two groups of patients."""
    yield Step("compare", 0, 0, "Dealing patients to the groups at random")
    project = pipeline.read_project(request.folder)
    found = pipeline.find_exploration(project, request.folder)
    if found is None:
        yield Step("compare", 0, 0, "Without clusters, since none were found in these cells")
    pipeline.compare_project(project, found, request.groups, request.out)
    return Compared(table=request.out / "groups.csv")


def type_cells(request: TypeCells) -> Work[CellsTyped]:
    """Give every cell of a scored folder a type."""
    project = pipeline.read_project(request.folder)
    found = yield from pipeline.classify_project(project, request.names, request.classifier)
    types, counts, *_ = pipeline.write_typed(found, request.out)
    reply = CellsTyped(
        types=types,
        counts=counts,
        classifier=request.out / pipeline.CLASSIFIER,
        worth_naming=tuple(found.worth_naming.tolist()),
        sentences=tuple(found.sentences()),
    )
    if found.validation is None:
        return reply
    rows = tuple(found.validation.table().itertuples(index=False, name=None))
    validated = {"validation": rows, "macro_f1": found.validation.macro_f1, "left_out": found.validation.by}
    return reply.model_copy(update=validated)
