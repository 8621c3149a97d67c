"""The command line: ``napari-amil``."""

from __future__ import annotations

import sys

import typer

from napari_amil import __version__
from napari_amil.cli import cohorts, detecting, looking, scoring, sharing, studying, training
from napari_amil.cli.console import UNUSABLE
from napari_amil.core.base.errors import AmilError

app = typer.Typer(
    name="napari-amil",
    help="See which cells of a blood smear are unusual, how sure that is, and why. For research only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (looking, cohorts, detecting, scoring, sharing, training, studying):
    for name, command in group.COMMANDS.items():
        app.command(name)(command)


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
    """Run the command line; a failure that a user can act on is one sentence and exit code 2."""
    try:
        app()
    except AmilError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNUSABLE)
    except OSError as error:
        place = f"'{error.filename}': " if error.filename else ""
        sys.stderr.write(
            f"{place}{error.strerror or error}; check the path, its permissions and the free space.\n"
        )
        sys.exit(UNUSABLE)
