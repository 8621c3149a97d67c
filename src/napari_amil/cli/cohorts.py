"""``check`` and ``synth``."""

from __future__ import annotations

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
    """Say what is wrong with a cohort, and what to do about each problem."""
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


def synth(out: Out, seed: Seed = 0, style: EventStyle = Style.bar) -> None:
    """Make a synthetic cohort with known truth: images, a folder cohort and a cell list."""
    talk = Talk(style)
    written = talk.follow(
        pipeline.writing_synthetic_cohort(pipeline.make_folder(out), pipeline.SynthCohortSettings(seed=seed))
    )
    talk.result(f"The cohort is in {written}", cohort=str(written))


COMMANDS = {"check": check, "synth": synth}
