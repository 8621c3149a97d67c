"""``detect`` and ``train-detector``."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from napari_amil.cli.console import (
    BundleFile,
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


class Format(enum.StrEnum):
    """Formats of detected cells."""

    csv = "csv"
    parquet = "parquet"
    geojson = "geojson"
    coco = "coco"


Images = Annotated[list[Path], typer.Argument(help="Images, folders or patterns.", show_default=False)]


def detect(
    images: Images,
    out: Out,
    bundle: BundleFile = None,
    settings_file: SettingsFile = None,
    format_: Annotated[Format, typer.Option("--format", help="Format of the cells.")] = Format.csv,
    device: DeviceName = Device.auto,
    style: EventStyle = Style.bar,
) -> None:
    """Find the cells of every image."""
    talk = Talk(style)
    loaded = pipeline.load_bundle(bundle)
    run = pipeline.RunSettings.from_yaml(settings_file) if settings_file else None
    recipe = pipeline.Recipe.of(loaded, run, pipeline.pick_device(device))
    found = talk.follow(pipeline.detect_images(images, recipe))
    written = pipeline.write_detections(found, pipeline.make_folder(out), format_)
    n_cells = sum(len(cells) for _, cells in found.values())
    talk.result(f"{n_cells} cells in {len(found)} images: {written}", n_cells=n_cells, cells=str(written))
    talk.finish(out)


def train_detector(
    images: Annotated[
        list[Path], typer.Argument(help="Images, folders, or one cell-list CSV.", show_default=False)
    ],
    out: Out,
    hold_out_fold: Annotated[
        int | None, typer.Option(help="Leave out the images of this fold of a cohort.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Bundle or COCO weights to start from.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="light, or resnet50 with COCO weights in --from.")] = "light",
    device: DeviceName = Device.auto,
    seed: Seed = 0,
    style: EventStyle = Style.bar,
) -> None:
    """Train the Mask R-CNN on first annotations that the program makes itself."""
    talk = Talk(style)
    run = pipeline.RunSettings()
    values = {"backbone": backbone, "seed": seed} | ({"steps": steps} if steps else {})
    chosen = pipeline.DetectorTrainingSettings.parse(values)
    source = pipeline.open_source(images, run.control)
    recipe = pipeline.Recipe.for_training(
        pipeline.start_detector(chosen.backbone, start, run), run, pipeline.pick_device(device)
    )
    pipeline.write_text(run.to_yaml(), pipeline.make_folder(out) / "run.yaml")
    files = pipeline.training_images(source, hold_out_fold)
    trained = talk.follow(pipeline.train_detector_on(files, recipe, chosen, out / "checkpoint.safetensors"))
    pipeline.save_bundle(trained, out / "bundle.safetensors")
    pipeline.write_json(pipeline.environment(), out / "environment.json")
    talk.result(f"The detector is in {out / 'bundle.safetensors'}", bundle=str(out / "bundle.safetensors"))
    talk.finish(out)


COMMANDS = {"detect": detect, "train-detector": train_detector}
