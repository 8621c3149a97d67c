"""``ablate`` and ``unseen``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import (
    Allow,
    BundleFile,
    CohortPath,
    Device,
    DeviceName,
    EventStyle,
    Out,
    Seed,
    SettingsFile,
    Style,
    Talk,
)
from napari_amil.cli.lazy import pipeline
from napari_amil.core.base.columns import scores_for

Runs = Annotated[int, typer.Option(min=1, help="Trainings of each row and fold, with seeds of their own.")]
Jobs = Annotated[
    int,
    typer.Option(min=1, help="Processes that find cells, and then train, at the same time; one thread each."),
]
TestFold = Annotated[int | None, typer.Option("--hold-out-fold", help="Test on this fold alone.")]
Inner = Annotated[
    bool, typer.Option("--inner", help="Never touch --hold-out-fold: test within the other folds.")
]
Folds = Annotated[int | None, typer.Option(min=2, help="Deal the patients anew into so many folds.")]
Control = Annotated[str | None, typer.Option(help="Name of the control class.")]


def ablate(
    cohort: CohortPath,
    out: Out,
    runs: Runs = 5,
    rows: Annotated[str, typer.Option(help="Rows or groups of rows, with commas between.")] = "table",
    more_rows: Annotated[Path | None, typer.Option(help="YAML file with further rows.")] = None,
    preset_epochs: Annotated[
        int | None, typer.Option(min=1, help="Compress every published schedule to so many epochs.")
    ] = None,
    settings_file: SettingsFile = None,
    hold_out_fold: TestFold = None,
    inner: Inner = False,
    folds: Folds = None,
    jobs: Jobs = 1,
    bundle: BundleFile = None,
    control: Control = None,
    allow: Allow = None,
    device: DeviceName = Device.cpu,
    seed: Seed = 0,
    style: EventStyle = Style.bar,
) -> None:
    """Compare the published method, the recommended one, and single changes of it, on one cohort.

    The folder OUT keeps every result: a study that was stopped goes on when the command is given again.
    """
    talk = Talk(style)
    reference = pipeline.study_reference(settings_file, control)
    further = pipeline.read_rows(more_rows) if more_rows else {}
    known = pipeline.ROWS | further
    wanted = [*(name.strip() for name in rows.split(",")), *further]
    settings = pipeline.ablation_rows(pipeline.named_rows(wanted, known), reference, preset_epochs)
    source = pipeline.cohort_source(talk.follow(pipeline.opening_cohort(cohort, reference.control)))
    protocol = pipeline.StudyProtocol(runs, hold_out_fold, inner, folds, seed, jobs, tuple(allow or ()))
    recipe = pipeline.Recipe.for_training(
        pipeline.load_bundle(bundle), reference, pipeline.pick_device(device)
    )
    recipe = pipeline.in_processes(recipe, jobs if jobs > 1 else None)
    talk.reads(source, bundle)
    work = pipeline.ablate(source, recipe, pipeline.make_folder(out), settings, protocol)
    done = talk.follow(pipeline.in_run_folder(work, out))
    for _, line in done.table.iterrows():
        text = f"{line['row']:26} accuracy {line['accuracy']:.3f}  macro AUROC {line['macro_auroc']:.3f}"
        talk.result(text, **{name: value for name, value in line.items() if value == value})
    talk.result(f"The table is in {out / 'table.md'} and table.csv", table=str(out / "table.csv"))
    talk.finish(out)


def unseen(
    cohort: CohortPath,
    out: Out,
    leave_out: Annotated[str, typer.Option(help="Class that no training sees; all = each in turn.")],
    runs: Runs = 1,
    settings_file: SettingsFile = None,
    hold_out_fold: TestFold = None,
    inner: Inner = False,
    folds: Folds = None,
    jobs: Jobs = 1,
    bundle: BundleFile = None,
    control: Control = None,
    allow: Allow = None,
    device: DeviceName = Device.cpu,
    seed: Seed = 0,
    style: EventStyle = Style.bar,
) -> None:
    """Leave a class out of the training: whether its cells stand out, and the verdicts on its bags.

    The folder OUT keeps every result: a study that was stopped goes on when the command is given again.
    """
    talk = Talk(style)
    run = pipeline.study_reference(settings_file, control)
    source = pipeline.cohort_source(talk.follow(pipeline.opening_cohort(cohort, run.control)))
    protocol = pipeline.StudyProtocol(runs, hold_out_fold, inner, folds, seed, jobs, tuple(allow or ()))
    recipe = pipeline.Recipe.for_training(pipeline.load_bundle(bundle), run, pipeline.pick_device(device))
    recipe = pipeline.in_processes(recipe, jobs if jobs > 1 else None)
    talk.reads(source, bundle)
    work = pipeline.unseen(source, recipe, pipeline.make_folder(out), leave_out, protocol)
    table = talk.follow(pipeline.in_run_folder(work, out))
    for _, line in table.iterrows():
        names = scores_for("evaluate", [str(name).removeprefix("cell_auroc_") for name in line.index])
        areas = [f"{name} {line[f'cell_auroc_{name}']:.3f}" for name in names]
        values = {name: value for name, value in line.items() if value == value}
        talk.result(f"{line['unseen']:20} ROC area of {', '.join(areas)}", **values)
    talk.result(f"The table is in {out / 'table.md'} and table.csv", table=str(out / "table.csv"))
    text = f"Clusters of each class are in {out / 'clusters.csv'}; open {out}/scored-<class> in the window"
    talk.result(text, clusters=str(out / "clusters.csv"))
    talk.finish(out)


COMMANDS = {"ablate": ablate, "unseen": unseen}
