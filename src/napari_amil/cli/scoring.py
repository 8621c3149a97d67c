"""``score``, ``evaluate`` and ``calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import (
    Allow,
    As,
    BundleFile,
    Classes,
    CohortPath,
    DaskAddress,
    Device,
    DeviceName,
    DiameterPx,
    DryRun,
    EventStyle,
    Jobs,
    Kind,
    Out,
    SettingsFile,
    Style,
    Talk,
    settings_for,
)
from napari_amil.cli.lazy import events, pipeline

Replace = Annotated[bool, typer.Option("--replace", help="Replace the scores of other images in OUT.")]
HoldOut = Annotated[int | None, typer.Option("--hold-out-fold", help="Use only the bags of this fold.")]


Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", help="Score only this part of the bags, as in 2/8; 'merge' puts all parts together."
    ),
]


def score(
    inputs: Annotated[
        list[Path], typer.Argument(help="Images, folders, patterns, or one cohort.", show_default=False)
    ],
    out: Out,
    bundle: BundleFile = None,
    cells: Annotated[
        Path | None,
        typer.Option(
            help="Boxes, outlines or labels of another program, for these images: a file or a folder."
        ),
    ] = None,
    classes: Classes = None,
    settings_file: SettingsFile = None,
    diameter: DiameterPx = None,
    replace: Replace = False,
    device: DeviceName = Device.auto,
    jobs: Jobs = None,
    dask: DaskAddress = None,
    shard: Shard = None,
    as_: As = Kind.auto,
    dry_run: DryRun = False,
    style: EventStyle = Style.bar,
) -> None:
    """Score every cell and every bag; of loose images each one is a bag.

    Bags that OUT holds already, scored alike, are taken over: a run that was stopped goes on.
    With --cells the cells are those of any other program: a table of boxes, Shapes or labels of napari,
    COCO, GeoJSON or Pascal VOC.
    """
    talk = Talk(style)
    part = None if shard is None else pipeline.Shard.parse(shard)
    run = settings_for(bundle, settings_file, diameter)
    source = talk.follow(pipeline.opening_source(inputs, run.control, as_.value))
    if dry_run:
        return
    recipe = pipeline.Recipe.from_bundle(pipeline.load_bundle(bundle), run, pipeline.pick_device(device))
    recipe = pipeline.on_cluster(pipeline.in_processes(recipe, jobs), dask)
    if cells is not None:
        source = talk.follow(pipeline.give_cells(source, cells, recipe, tuple(classes or ())))
    talk.reads(source, bundle)
    if part is not None:
        _score_shard(talk, pipeline.score_shard(source, recipe, bundle, out, part), out, part)
        return
    work = pipeline.score_cohort(source, recipe, bundle, out, replacing=replace)
    scored = talk.follow(work)
    text = f"{len(scored.cells)} cells of {len(scored.bags)} bags are scored: {out}/cells.csv and bags.csv"
    talk.result(text, cells=str(out / "cells.csv"), bags=str(out / "bags.csv"))
    talk.finish(out)


def _score_shard(talk: Talk, work: events.Events, out: Path, part: pipeline.Shard) -> None:
    """Score a part of the bags, and print the next command."""
    n_bags = talk.follow(work)
    text = (
        f"{n_bags} bags of shard {part.number} of {part.total} are scored; when all shards are, give "
        f"'napari-amil merge {out}'"
    )
    talk.result(text, n_bags=n_bags, shard=part.number, of=part.total)
    talk.finish(part.folder(out))


def evaluate(
    cohort: CohortPath,
    out: Out,
    bundle: BundleFile = None,
    hold_out_fold: HoldOut = None,
    replace: Replace = False,
    allow: Allow = None,
    device: DeviceName = Device.auto,
    jobs: Jobs = None,
    dask: DaskAddress = None,
    as_: As = Kind.auto,
    dry_run: DryRun = False,
    style: EventStyle = Style.bar,
) -> None:
    """Hold scores against labels: metrics of bags and, where the cell types are known, of cells.

    Also tells whether the scores are faithful: what a bag loses with the cells that each points at.
    Images and patients that taught the model are refused; --allow leaking-images goes on all the same.
    """
    talk = Talk(style)
    run = settings_for(bundle)
    found = talk.follow(pipeline.opening_cohort(cohort, run.control, as_.value, to_score=True))
    source = pipeline.cohort_source(found)
    if dry_run:
        return
    if hold_out_fold is not None:
        source = pipeline.sources_by_fold(source, hold_out_fold)[1]
    recipe = pipeline.Recipe.from_bundle(pipeline.load_bundle(bundle), None, pipeline.pick_device(device))
    recipe = pipeline.on_cluster(pipeline.in_processes(recipe, jobs), dask)
    talk.reads(source, bundle)
    work = pipeline.evaluate_cohort(
        source, recipe, bundle, out, replacing=replace, allowed=tuple(allow or ())
    )
    metrics = talk.follow(work)
    for name, value in metrics.items():
        talk.result(f"{name:28} {value:.4g}", **{name: value})
    talk.finish(out)


def calibrate(
    controls: Annotated[
        Path,
        typer.Argument(help="Folder of control smears, <patient>/<image>, or cell list.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the calibrated model.")],
    bundle: BundleFile = None,
    control: Annotated[str | None, typer.Option(help="Name of the control class.")] = None,
    settings_file: SettingsFile = None,
    device: DeviceName = Device.auto,
    jobs: Jobs = None,
    dask: DaskAddress = None,
    style: EventStyle = Style.bar,
) -> None:
    """Refer a model to your own control smears, in seconds and without training.

    Says how far these controls lie from those of the training, in stain, size and anomaly.
    """
    talk = Talk(style)
    target = out / "bundle.safetensors" if out.is_dir() else out
    pipeline.refuse_unwritable(target.parent)
    run = settings_for(bundle, settings_file)
    found = talk.follow(pipeline.opening_controls(controls, control or run.control))
    source = pipeline.cohort_source(found)
    recipe = pipeline.Recipe.from_bundle(pipeline.load_bundle(bundle), run, pipeline.pick_device(device))
    recipe = pipeline.on_cluster(pipeline.in_processes(recipe, jobs), dask)
    talk.reads(source, bundle)
    calibrated = talk.follow(pipeline.calibrate(source, recipe))
    pipeline.save_bundle(calibrated.bundle, target)
    for sentence in pipeline.drift_sentences(calibrated.drift):
        talk.result(sentence)
    talk.result(f"The calibrated model is in {target}", bundle=str(target), **calibrated.drift)
    talk.finish(target.parent, f"{target.stem}-failures.csv")


COMMANDS = {"score": score, "evaluate": evaluate, "calibrate": calibrate}
