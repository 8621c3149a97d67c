"""The command line: ``napari-amil``."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from napari_amil import __version__
from napari_amil.cli import (
    cohorts,
    detection,
    inspection,
    replay,
    scored_folder,
    scoring,
    slides,
    studies,
    training,
)
from napari_amil.cli.console import UNEXPECTED, UNUSABLE, Talk, one_line, say_stopped
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.interrupts import INTERRUPTED, interrupt_work

DEBUG = "NAPARI_AMIL_DEBUG"
"""Environment variable that, set to 1, shows the traceback of an unexpected error."""


class _Noted(TyperCommand):
    """A command whose arguments `Talk` can name in the receipt, none of them empty."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Refuse an empty argument, such as of a variable that is not set: it would mean this folder."""
        for before, word in zip(["", *args], args, strict=False):
            option, is_set, value = word.partition("=") if word.startswith("--") else (before, "=", word)
            if is_set and not value.strip():
                place = f"after {option}" if option.startswith("-") else f"of {ctx.info_name}"
                raise AmilError(f"An argument {place} is empty; give a path or a value, or leave it out.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer brings its own click
        """Run the command."""
        Talk.context = ctx
        return super().invoke(ctx)


class _Commands(TyperGroup):
    """The commands; Ctrl-C ends each with a sentence and its own exit code, at whatever moment it comes."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run the command that was given."""
        try:
            interrupt_work()
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say_stopped()
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="napari-amil",
    cls=_Commands,
    help="See which cells of a blood smear are unusual, how sure that is, and why. For research only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (inspection, cohorts, detection, scoring, slides, scored_folder, training, studies, replay):
    for name, command in group.COMMANDS.items():
        app.command(name, cls=_Noted)(command)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_say_version, is_eager=True
    ),
) -> None:
    """See which cells of a blood smear are unusual, how sure that is, and why. For research only."""


def main() -> None:
    """Run the command line; a failure is one line and an exit code.

    The code is 1 where some inputs could not be used, 2 where nothing could be done, and 3 for an error
    of the program itself, whose traceback is shown where ``NAPARI_AMIL_DEBUG`` is 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what no terminal can show
    try:
        app()
    except AmilError as error:
        _end(str(error), UNUSABLE)
    except OSError as error:
        place = f"'{error.filename}': " if error.filename else ""
        reason = error.strerror or error
        _end(f"{place}{reason}; check the path, its permissions and the free space.", UNUSABLE)
    except Exception as error:
        if os.environ.get(DEBUG) == "1":
            raise
        _end(
            f"The program met an unexpected error ({type(error).__name__}: {error}); set {DEBUG}=1 "
            "and give the command again to see where, and please report it.",
            UNEXPECTED,
        )


def _end(message: str, code: int) -> None:
    """Write a message as one line and leave with an exit code."""
    if Talk.latest is not None:
        Talk.latest.end("failed", message)
    sys.stderr.write(f"{one_line(message)}\n")
    sys.exit(code)
