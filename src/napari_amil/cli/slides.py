"""``slide``: fields of whole slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import (
    BundleFile,
    DaskAddress,
    Device,
    DeviceName,
    DiameterPx,
    EventStyle,
    Jobs,
    Out,
    SettingsFile,
    Style,
    Talk,
    settings_for,
)
from napari_amil.cli.lazy import pipeline


def slide(
    slides: Annotated[
        list[Path],
        typer.Argument(
            help="Slides: SVS, NDPI, MRXS, SCN, BIF, CZI, pyramidal OME-TIFF, OME-Zarr.", show_default=False
        ),
    ],
    out: Out,
    fields: Annotated[int, typer.Option(min=1, max=2000, help="Fields of each slide that are scored.")] = 50,
    region: Annotated[
        str | None,
        typer.Option(help="Score this part instead: x,y,width,height in pixels of the slide."),
    ] = None,
    choose_only: Annotated[
        bool, typer.Option("--choose-only", help="Choose and copy the fields, and score nothing.")
    ] = False,
    bundle: BundleFile = None,
    settings_file: SettingsFile = None,
    diameter: DiameterPx = None,
    device: DeviceName = Device.auto,
    jobs: Jobs = None,
    dask: DaskAddress = None,
    style: EventStyle = Style.bar,
) -> None:
    """Score the best fields of whole slides: where cells lie apart, flat and in focus.

    Each slide is a bag. OUT is a scored folder; OUT/slides/<slide>/cells.geojson opens on the slide in
    QuPath. A run that was stopped goes on when the command is given again.
    """
    talk = Talk(style)
    choice = pipeline.FieldChoice.parse(fields, region, diameter)
    run = settings_for(bundle, settings_file, diameter)
    folder = pipeline.make_folder(out)
    chosen = talk.follow(pipeline.choose_fields(slides, choice, folder, run.control))
    for name, places in chosen.fields.items():
        talk.result(
            f"{name}: {len(places)} fields, see {folder / 'slides'}", slide=name, n_fields=len(places)
        )
    if not choose_only:
        recipe = pipeline.Recipe.from_bundle(pipeline.load_bundle(bundle), run, pipeline.pick_device(device))
        recipe = pipeline.on_cluster(pipeline.in_processes(recipe, jobs), dask)
        talk.reads(list(slides), bundle)
        scored = talk.follow(pipeline.score_cohort(chosen.source, recipe, bundle, out))
        written = [str(path) for path in pipeline.write_slide_results(scored, chosen, out)]
        text = f"{len(scored.cells)} cells of {len(scored.bags)} slides are scored: {', '.join(written)}"
        talk.result(text, n_cells=len(scored.cells), geojson=written)
    talk.finish(out)


COMMANDS = {"slide": slide}
