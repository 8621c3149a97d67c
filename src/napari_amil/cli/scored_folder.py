"""``export``, ``report`` and ``explore``: commands on a scored folder."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import EventStyle, Jobs, Out, Style, Talk
from napari_amil.cli.lazy import pipeline
from napari_amil.core.base.errors import AmilError

ScoredFolder = Annotated[
    Path, typer.Argument(help="Folder that 'score' or 'evaluate' wrote.", show_default=False)
]
Bags = Annotated[list[str] | None, typer.Option("--bag", help="Only this bag; may be given several times.")]


class Format(enum.StrEnum):
    """Formats of other programs."""

    csv = "csv"
    parquet = "parquet"
    geojson = "geojson"
    coco = "coco"
    h5ad = "h5ad"
    spatialdata = "spatialdata"
    labels = "labels"
    imagej = "imagej"
    labelme = "labelme"
    yolo = "yolo"


def export(
    scored: ScoredFolder,
    out: Out,
    format_: Annotated[Format, typer.Option("--format", help="Format of the cells.")] = Format.csv,
    bags: Bags = None,
    style: EventStyle = Style.bar,
) -> None:
    """Write scored cells as tables, or for QuPath, scanpy, SpatialData, ImageJ, LabelMe, YOLO, COCO."""
    talk = Talk(style)
    project = pipeline.choose_bags(pipeline.read_project(scored), bags or [])
    work = pipeline.export_project(project, format_, pipeline.make_folder(out))
    written = [str(path) for path in talk.follow(work)]
    text = f"{len(project.cells)} cells of {len(project.bags)} bags: {', '.join(written)}"
    talk.result(text, n_cells=len(project.cells), n_bags=len(project.bags), files=written)
    talk.finish(out)


def report(
    scored: ScoredFolder,
    out: Out,
    bags: Bags = None,
    samples: Annotated[bool, typer.Option(help="Write a page for every sample too.")] = True,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write every page as a PDF too.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Model that redraws cells: samples show their strangest cells beside their twins."),
    ] = None,
    style: EventStyle = Style.bar,
) -> None:
    """Write self-contained HTML pages: the cohort, and every sample with pictures and plain words."""
    talk = Talk(style)
    project = pipeline.read_project(scored)
    chosen = pipeline.choose_bags(project, bags or []).bags["bag"].tolist() if samples else []
    project = pipeline.with_receipt(project, scored)
    found = pipeline.find_exploration(project, scored)
    twins = None
    if bundle is not None:
        recipe = pipeline.Recipe.from_bundle(pipeline.load_bundle(bundle), None, pipeline.pick_device("auto"))
        twins = talk.follow(pipeline.twin_sheets(project, chosen, recipe))
    folder = pipeline.make_folder(out)
    work = pipeline.write_reports(project, folder, chosen, found=found, pdf=pdf, twins=twins)
    written = [str(path) for path in talk.follow(work)]
    talk.result(f"{written[0]} and the pages of {len(chosen)} samples", files=written)
    talk.finish(out)


def explore(
    scored: ScoredFolder,
    out: Out,
    percentile: Annotated[
        float | None,
        typer.Option(min=50, max=100, help="Look at cells above this percentile, and at q < 0.05."),
    ] = None,
    unexplained: Annotated[
        bool, typer.Option("--unexplained", help="Look only into samples that no class explains.")
    ] = False,
    min_cells: Annotated[int, typer.Option(min=3, help="Smallest cluster.")] = 10,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="CLUSTER=NAME makes it a class in candidates.csv beside the scores."),
    ] = None,
    groups: Annotated[
        Path | None, typer.Option(help="CSV 'patient' or 'bag', and 'group': compare the two groups.")
    ] = None,
    truth: Annotated[str | None, typer.Option(help="Column with true cell types, to check against.")] = None,
    unseen: Annotated[
        str | None, typer.Option(help="With --truth: the class that the training never saw.")
    ] = None,
    jobs: Jobs = None,
    style: EventStyle = Style.bar,
) -> None:
    """Find clusters of unusual cells that no class explains, and their size in every patient."""
    talk = Talk(style)
    project = pipeline.read_project(scored)
    settings = pipeline.ClusterSettings.parse(
        {"percentile": percentile, "min_cells": min_cells, "unexplained": unexplained}
    )
    executor = pipeline.executor_of(jobs)
    talk.reads(pipeline.project_files(scored), None, starter=False)
    work = pipeline.explore_project(project, settings, pipeline.make_folder(out), executor=executor)
    found = talk.follow(work)
    if not len(found.table):
        talk.result("No cluster was found: no unusual cells lie close together.")
    for line in found.table.to_dict("records"):
        text = (
            f"cluster {line['cluster']:<3} {line['n_cells']} cells of {line['n_patients']} patients, "
            f"{line['in_unseen_bags']:.0%} in samples unlike anything seen; nearest {line['nearest_class']}, "
            f"{line['nearest_distance']:.1f} deviations away"
        )
        talk.result(text, **line)
    for named in names or []:
        cluster, _, name = named.partition("=")
        if not cluster.isdigit():
            raise AmilError(f"--name {named} names no cluster; give its number first, as in 2=spherocytes.")
        named_so = pipeline.name_cluster(project, found.clusters, int(cluster), name, scored)
        text = f"{named_so.n_bags} bags are labelled {named_so.name} in {named_so.path}"
        talk.result(text, candidate=str(named_so.path), n_bags=named_so.n_bags)
    if groups is not None:
        for line in pipeline.compare_project(project, found, groups, out).to_dict("records"):
            text = f"{line['statistic']:20} Cliff's delta {line['cliffs_delta']:+.2f}, p = {line['p']:.3g}"
            talk.result(f"{text} ({line['n_first']} and {line['n_second']} patients)", **line)
    if truth is not None:
        for line in pipeline.compare_with_truth(project, found, truth, unseen, out).to_dict("records"):
            text = f"cluster {line['cluster']}: purity {line['purity']:.3f}"
            talk.result(f"{text}, completeness {line['completeness']:.3f}", **line)
    talk.finish(out)


def classify(
    scored: ScoredFolder,
    out: Out,
    names: Annotated[
        Path | None,
        typer.Option(
            help="Named cells: a table image, cell_type, cell_id or box; classes of QuPath, LabelMe, YOLO."
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(help="types.safetensors of an earlier run; with --names, it learns these as well."),
    ] = None,
    style: EventStyle = Style.bar,
) -> None:
    """Learn cell types from cells that you named, and give every cell of a scored folder a type.

    Writes types.csv, type_counts.csv (with 95 % intervals), worth_naming.csv (which cells to name next),
    the confusion matrix of slides left out, and types.safetensors for other folders of the same model.
    Names never change an anomaly score or a verdict.
    """
    talk = Talk(style)
    project = pipeline.read_project(scored)
    found = talk.follow(pipeline.classify_project(project, names, classifier))
    written = [str(path) for path in pipeline.write_typed(found, out)]
    if found.validation is not None:
        for line in found.validation.table().to_dict("records"):
            text = f"{line['cell_type']:20} {line['n_cells']:5} named, recall {line['recall']:.2f}"
            talk.result(f"{text}, precision {line['precision']:.2f}", **line)
        score = found.validation.macro_f1
        text = f"Macro F1 {score:.2f}, each {found.validation.by} predicted without itself"
        talk.result(text, macro_f1=score)
    for sentence in found.sentences():
        talk.result(sentence)
    n_typed = int((found.cells["type"] != "").sum())
    talk.result(f"{n_typed} of {len(found.cells)} cells have a type: {written[0]}", files=written)
    talk.finish(out)


def merge(
    scored: Annotated[
        Path, typer.Argument(help="Folder into which all shards were scored.", show_default=False)
    ],
    style: EventStyle = Style.bar,
) -> None:
    """Put the shards of 'score --shard' together: the files are those of one run."""
    talk = Talk(style)
    project = talk.follow(pipeline.merge_shards(scored))
    text = (
        f"{len(project.cells)} cells of {len(project.bags)} bags are scored: {scored}/cells.csv and bags.csv"
    )
    talk.result(text, cells=str(scored / "cells.csv"), bags=str(scored / "bags.csv"))
    talk.finish(scored)


COMMANDS = {"merge": merge, "classify": classify, "explore": explore, "export": export, "report": report}
