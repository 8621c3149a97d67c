"""``replay``: repeat a run and compare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import SOME_FAILED, UNUSABLE, EventStyle, Style, Talk
from napari_amil.cli.lazy import pipeline
from napari_amil.core.base.errors import AmilError


def replay(
    run: Annotated[
        Path,
        typer.Argument(help="Folder of a detect, score, slide, explore, train or study.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the repeated run; RUN-replay if not given.")
    ] = None,
    style: EventStyle = Style.bar,
) -> None:
    """Repeat a run from its receipt, and say whether its results are bit-equal, and if not how far they are.

    Inputs are looked for where they lie relative to RUN, so that a copy of both is repeated elsewhere; their
    content must be the same.
    """
    talk = Talk(style)
    target = out or run.resolve().with_name(f"{run.resolve().name}-replay")
    if target.exists() and any(target.iterdir()):
        raise AmilError(f"'{target}' is not empty; choose another folder with --out.")
    words, notes = pipeline.replay_words(run, target)
    for note in notes:
        talk.result(f"Note: {note}", note=note)
    done = subprocess.run([sys.executable, "-m", "napari_amil", *words], check=False)
    if done.returncode not in {0, SOME_FAILED}:
        raise typer.Exit(done.returncode)
    found = pipeline.compare_runs(run, target)
    apart = [one for one in found if one.text]
    for one in apart:
        talk.result(f"{one.file}: {one.text}", file=one.file, difference=one.largest)
    if apart:
        talk.result(f"{len(apart)} of {len(found)} results differ; the repeated run is in {target}")
        raise typer.Exit(SOME_FAILED if any(one.largest < float("inf") for one in apart) else UNUSABLE)
    talk.result(f"All {len(found)} results are equal; the repeated run is in {target}", n_equal=len(found))


COMMANDS = {"replay": replay}
