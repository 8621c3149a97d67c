"""``check`` and ``synth``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from napari_amil.cli.console import (
    SOME_FAILED,
    As,
    CohortPath,
    DryRun,
    EventStyle,
    Kind,
    Out,
    Seed,
    Style,
    Talk,
)
from napari_amil.cli.lazy import pipeline


def check(
    cohort: CohortPath,
    control: Annotated[str, typer.Option(help="Name of the control class.")] = "control",
    as_: As = Kind.auto,
    dry_run: DryRun = False,
    style: EventStyle = Style.bar,
) -> None:
    """List the problems of a cohort, each with its remedy."""
    talk = Talk(style)
    found = talk.follow(pipeline.opening_cohort(cohort, control, as_.value))
    if dry_run:
        return
    problems = talk.follow(pipeline.checking(found))
    for problem in problems:
        talk.result(
            f"{problem.severity}: {problem.message}", severity=problem.severity, message=problem.message
        )
    patients = len({bag.patient for bag in found})
    n_cells = sum(bag.n_cells for bag in found)
    talk.result(
        f"{len(found)} bags of {patients} patients in {len(found.classes)} classes, {n_cells} cells listed, "
        f"{len(problems)} problems",
        n_bags=len(found),
        n_problems=len(problems),
    )
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(SOME_FAILED)


class Drawn(StrEnum):
    """Cells that a synthetic cohort shows."""

    red = "red"
    white = "white"


class Carrier(StrEnum):
    """Effects that tell malignant from reactive in a synthetic cohort of white cells."""

    of_images = "images"
    of_count = "count"
    of_both = "both"
    of_neither = "neither"


def synth(
    out: Out,
    cells: Annotated[
        Drawn, typer.Option(help="Smears of red cells, or images of single white cells with clinical values.")
    ] = Drawn.red,
    carrier: Annotated[
        Carrier, typer.Option(help="What carries the label of white cells; 'both': one or the other.")
    ] = Carrier.of_both,
    patients: Annotated[int, typer.Option(min=2, max=5000, help="Patients of white cells.")] = 24,
    seed: Seed = 0,
    style: EventStyle = Style.bar,
) -> None:
    """Make a synthetic cohort with known truth: smears and a cell list, or white cells and a table."""
    talk = Talk(style)
    folder = pipeline.make_folder(out)
    if cells is Drawn.white:
        wanted = {"patients": patients, "carrier": carrier.value, "seed": seed}
        work = pipeline.writing_cell_image_cohort(folder, pipeline.CellImageCohortSettings.parse(wanted))
    else:
        work = pipeline.writing_synthetic_cohort(folder, pipeline.SynthCohortSettings(seed=seed))
    written = talk.follow(work)
    talk.result(f"The cohort is in {written}", cohort=str(written))


COMMANDS = {"check": check, "synth": synth}
