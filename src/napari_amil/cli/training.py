"""``train``, ``train-anomaly`` and ``pretrain``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import (
    Allow,
    As,
    BundleFile,
    CohortPath,
    Device,
    DeviceName,
    DryRun,
    EventStyle,
    Kind,
    Out,
    Precision,
    SettingsFile,
    Style,
    Talk,
)
from napari_amil.cli.lazy import pipeline

_WORTH_AN_ESTIMATE = 500  # cells in images of their own, which take a minute or more


def _print_estimate(talk: Talk, source: pipeline.Source, recipe: pipeline.Recipe, n_trainings: int) -> None:
    """Print the expected time and memory of a training on many images of single cells."""
    cohort = source.cohort
    if cohort.layout != "cell-images" or sum(bag.n_cells for bag in cohort) < _WORTH_AN_ESTIMATE:
        return
    taken = talk.follow(pipeline.estimating(source, recipe, n_trainings))
    text = f"This will take about {taken.seconds / 60:.0f} minutes and {taken.gigabytes:.1f} GB."
    talk.result(text, seconds=taken.seconds, gigabytes=taken.gigabytes)


def train(
    cohort: CohortPath,
    out: Out,
    hold_out_fold: Annotated[int | None, typer.Option(help="Keep this fold for the test.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Deal the patients into folds; without --hold-out-fold each is a test."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Repeat the test with other seeds.")] = 1,
    bundle: BundleFile = None,
    preset: Annotated[
        str, typer.Option(help="Settings to start from; 'napari-amil info --presets' shows them.")
    ] = "recommended",
    settings_file: SettingsFile = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most epochs.")] = None,
    control: Annotated[str | None, typer.Option(help="Name of the control class.")] = None,
    allow: Allow = None,
    device: DeviceName = Device.auto,
    precision: Annotated[
        Precision | None, typer.Option(help="Bits with which the encoder learns; mixed ones want a new card.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Graphics cards that share the bags of every step.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    as_: As = Kind.auto,
    dry_run: DryRun = False,
    style: EventStyle = Style.bar,
) -> None:
    """Train encoder, attention, pooling and control Gaussian on labelled bags.

    The detector is that of --bundle. A settings file changes single fields of the preset. The folder
    OUT is the run: a training that was stopped goes on where it was when the command is given again.
    Ctrl-C, or a file called 'stop' in OUT, ends it after the present epoch with the best weights so
    far; Ctrl-C again ends it at once.
    """
    talk = Talk(style)
    start = pipeline.preset(preset)
    run = pipeline.RunSettings.from_yaml(settings_file, start) if settings_file else start
    given = {"max_epochs": epochs, "seed": seed, "precision": precision, "devices": devices}
    training = {name: value for name, value in given.items() if value is not None}
    run = run.changed({"training": training, "control": control or run.control})
    found = talk.follow(pipeline.opening_cohort(cohort, run.control, as_.value))
    source, run = pipeline.cohort_source(found), run.changed({"control": found.control})
    if dry_run:
        return
    device_ = pipeline.pick_device(device)
    recipe = pipeline.Recipe.for_training(pipeline.load_bundle(bundle), run, device_)
    protocol = pipeline.Protocol(hold_out_fold, folds, tuple(allow or ()), runs)
    talk.reads(source, bundle)
    n_tests = folds if folds is not None and hold_out_fold is None else 1
    _print_estimate(talk, source, recipe, n_tests * runs + protocol.is_repeated)
    work = pipeline.train_run(source, recipe, pipeline.make_folder(out), protocol)
    with talk.stopping(out / pipeline.STOP_FILE):
        metrics = talk.follow(work)
    for name, value in metrics.items():
        talk.result(f"{name:28} {value:.4g}", **{name: value})
    talk.result(f"The model is in {out / 'bundle.safetensors'}", bundle=str(out / "bundle.safetensors"))
    talk.finish(out)


def train_anomaly(
    cohort: Annotated[
        Path,
        typer.Argument(help="Cohort, or folder of control smears; only controls count.", show_default=False),
    ],
    out: Out,
    model: Annotated[
        str,
        typer.Option(
            help="Networks with commas between: ra, dpa, memae, ganomaly, fanogan; ra-code is published."
        ),
    ],
    bundle: BundleFile = None,
    folds: Annotated[
        int, typer.Option(min=2, help="Parts of the patients, each scored by a network that did not see it.")
    ] = 3,
    hold_out_fold: Annotated[int | None, typer.Option(help="Leave this fold of the cohort out.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Most optimiser steps of a training.")] = None,
    perceptual: Annotated[
        str | None,
        typer.Option(help="What compares pictures: 'pyramid', 'encoder', or a safetensors file."),
    ] = None,
    domains: Annotated[
        str | None,
        typer.Option(help="Columns that say how samples were acquired, with commas between: stain,scanner."),
    ] = None,
    control: Annotated[str | None, typer.Option(help="Name of the control class.")] = None,
    device: DeviceName = Device.auto,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    style: EventStyle = Style.bar,
) -> None:
    """Train networks that redraw control cells, and add their anomaly scores to a model.

    The model of --bundle keeps all it has; OUT/bundle.safetensors scores the columns 'anomaly_<name>' as
    well, with percentile, p and q from control cells that a network did not see. A training that was
    stopped (Ctrl-C, or a file called 'stop' in OUT) goes on when the command is given again.
    """
    talk = Talk(style)
    loaded = pipeline.load_bundle(bundle)
    run = loaded.settings if seed is None else loaded.settings.changed({"training": {"seed": seed}})
    factors = tuple(name.strip() for name in domains.split(",")) if domains else None
    given = {"steps": steps, "perceptual": perceptual, "domains": factors}
    changes = tuple((name, value) for name, value in given.items() if value is not None)
    wanted = pipeline.AddedNetworks(tuple(name.strip() for name in model.split(",")), folds, changes)
    source = pipeline.cohort_source(talk.follow(pipeline.opening_controls(cohort, control or run.control)))
    if hold_out_fold is not None:
        source = pipeline.sources_by_fold(source, hold_out_fold)[0]
    recipe = pipeline.Recipe.from_bundle(replace(loaded, settings=run), None, pipeline.pick_device(device))
    talk.reads(source, bundle)
    work = pipeline.train_anomaly(source, recipe, pipeline.make_folder(out), wanted)
    with talk.stopping(out / pipeline.STOP_FILE):
        found = talk.follow(work)
    if found is not None:
        target = out / "bundle.safetensors"
        talk.result(f"The model with {', '.join(wanted.channels)} is in {target}", bundle=str(target))
    talk.finish(out)


def pretrain(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Images, folders, patterns, or one cohort; labels are not read.", show_default=False
        ),
    ],
    out: Out,
    bundle: BundleFile = None,
    settings_file: SettingsFile = None,
    cells: Annotated[
        Path | None,
        typer.Option(
            help="Boxes, outlines or labels of another program, for these images: a file or a folder."
        ),
    ] = None,
    hold_out_fold: Annotated[int | None, typer.Option(help="Leave this fold of the cohort out.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most passes over the cells.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Most optimiser steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Cells in one step.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    device: DeviceName = Device.auto,
    as_: As = Kind.auto,
    style: EventStyle = Style.bar,
) -> None:
    """Pre-train an encoder on smears without labels: two views of a cell are to be alike.

    OUT/encoder.yaml is a settings file for 'train', which puts a model on the encoder. A training that was
    stopped (Ctrl-C, or a file called 'stop' in OUT) goes on when the command is given again.
    """
    talk = Talk(style)
    loaded = pipeline.load_bundle(bundle)
    run = pipeline.RunSettings.from_yaml(settings_file, loaded.settings) if settings_file else loaded.settings
    run = run if seed is None else run.changed({"training": {"seed": seed}})
    given = {"epochs": epochs, "steps": steps, "batch_size": batch}
    wanted = pipeline.ContrastiveSettings.parse({name: v for name, v in given.items() if v is not None})
    source = talk.follow(pipeline.opening_source(inputs, run.control, as_.value))
    if hold_out_fold is not None:
        source = pipeline.sources_by_fold(source, hold_out_fold)[0]
    recipe = pipeline.Recipe.for_training(loaded, run, pipeline.pick_device(device))
    if cells is not None:
        source = talk.follow(pipeline.give_cells(source, cells, recipe))
    talk.reads(source, bundle)
    with talk.stopping(out / pipeline.STOP_FILE):
        found = talk.follow(pipeline.pretrain(source, recipe, pipeline.make_folder(out), wanted))
    text = f"{found.n_cells} cells taught {found.encoder}; to train on it: --settings {found.settings}"
    talk.result(text, encoder=str(found.encoder), settings=str(found.settings), n_cells=found.n_cells)
    talk.finish(out)


COMMANDS = {"train": train, "train-anomaly": train_anomaly, "pretrain": pretrain}
