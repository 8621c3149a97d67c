"""``demo``, ``info`` and ``doctor``."""

from __future__ import annotations

import enum
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import BundleFile
from napari_amil.cli.lazy import pipeline
from napari_amil.core.base.errors import MissingExtraError


class Theme(enum.StrEnum):
    """Themes of the window."""

    dark = "dark"
    light = "light"


def demo(
    image: Annotated[Path | None, typer.Option(help="A smear of your own instead of the sample.")] = None,
    screenshot: Annotated[Path | None, typer.Option(help="Write a picture of the window and end.")] = None,
    theme: Annotated[Theme, typer.Option(help="Theme of the window.")] = Theme.dark,
) -> None:
    """Open the window with a smear whose cells are found, scored and coloured."""
    if importlib.util.find_spec("napari") is None:
        raise MissingExtraError("napari", "gui")
    command = [sys.executable, "-P", "-m", "napari_amil.plugin.entry.demo", "--theme", theme]
    command += ["--image", str(image)] if image else []
    command += ["--screenshot", str(screenshot)] if screenshot else []
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def info(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; the starter if not given.")] = None,
    presets: Annotated[
        bool, typer.Option("--presets", help="Show instead the settings in which presets differ.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the card as JSON, with its hashes.")] = False,
) -> None:
    """Show the card of a model: its training data, time and results."""
    if presets:
        typer.echo(pipeline.preset_table())
        return
    header = pipeline.read_card(bundle or pipeline.starter_path())
    card = header["card"]
    typer.echo(json.dumps(card, indent=2, ensure_ascii=False) if as_json else pipeline.card_text(card))


def package(
    out: Annotated[Path, typer.Option("--out", "-o", help="The package, a .zip.", show_default=False)],
    bundle: Annotated[Path | None, typer.Argument(help="Bundle; the starter if not given.")] = None,
) -> None:
    """Write the encoder of a model as a BioImage.IO package, checked by that format's own library."""
    target = out.with_suffix(".zip")
    pipeline.write_bioimageio(pipeline.load_bundle(bundle), target)
    typer.echo(f"The encoder is in {target}")


def doctor(bundle: BundleFile = None) -> None:
    """Print the installed versions, the devices, and whether the bundle works."""
    for name, value in pipeline.diagnose(bundle).items():
        typer.echo(f"{name:16} {value}")


COMMANDS = {"demo": demo, "info": info, "package": package, "doctor": doctor}
