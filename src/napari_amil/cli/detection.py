"""``detect`` and ``train-detector``."""

from __future__ import annotations

import enum
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_amil.cli.console import (
    As,
    BundleFile,
    Classes,
    DaskAddress,
    Device,
    DeviceName,
    DiameterPx,
    DryRun,
    EventStyle,
    Jobs,
    Kind,
    Out,
    Seed,
    SettingsFile,
    Style,
    Talk,
    settings_for,
)
from napari_amil.cli.lazy import pipeline
from napari_amil.core.base.errors import AmilError


class Format(enum.StrEnum):
    """Formats of detected cells."""

    csv = "csv"
    parquet = "parquet"
    geojson = "geojson"
    coco = "coco"
    labels = "labels"
    imagej = "imagej"
    labelme = "labelme"
    yolo = "yolo"


class Interest(enum.StrEnum):
    """Cells of interest."""

    red = "red"
    white = "white"


Annotations = Annotated[
    list[Path],
    typer.Argument(help="Annotated images: a folder, or one COCO file or table.", show_default=False),
]
Start = Annotated[
    str, typer.Option(help="starter, nothing, coco:FILE (torchvision's COCO weights), or a bundle.")
]
CellsPlace = Annotated[
    Path | None,
    typer.Option("--cells", help="Where the annotations are, if not beside the images: file or folder."),
]
Partial = Annotated[bool, typer.Option("--partial", help="Some cells carry no annotation: paint these over.")]
SelfAnnotate = Annotated[
    bool,
    typer.Option("--self-annotate", help="Take annotations that the program makes itself (Otsu, watershed)."),
]
Share = Annotated[
    float | None,
    typer.Option(
        "--validation-share", min=0, max=0.9, help="Share of images, by patient, that judges the weights."
    ),
]
Also = Annotated[
    list[Path] | None,
    typer.Option("--also", help="Further annotated images: folder, COCO file or table; may be repeated."),
]
White = Annotated[
    list[str] | None,
    typer.Option("--white", help="Kind of the annotated objects that are white cells (column 'kind')."),
]
Made = Annotated[int, typer.Option("--made", min=0, help="Made-up smears to learn from as well.")]
Images = Annotated[list[Path], typer.Argument(help="Images, folders or patterns.", show_default=False)]


def detect(
    images: Images,
    out: Out,
    bundle: BundleFile = None,
    settings_file: SettingsFile = None,
    diameter: DiameterPx = None,
    format_: Annotated[Format, typer.Option("--format", help="Format of the cells.")] = Format.csv,
    cells: Annotated[Interest | None, typer.Option("--cells", help="Cells to find.")] = None,
    field_of_view: Annotated[
        bool, typer.Option("--field-of-view", help="Also write which part of each image counts as smear.")
    ] = False,
    device: DeviceName = Device.auto,
    jobs: Jobs = None,
    dask: DaskAddress = None,
    as_: As = Kind.auto,
    dry_run: DryRun = False,
    style: EventStyle = Style.bar,
) -> None:
    """Find the cells of every image."""
    talk = Talk(style)
    run = settings_for(bundle, settings_file, diameter)
    if cells is not None:
        run = run.changed({"detection": {"cells": cells.value}})
    sources = talk.follow(pipeline.opening_images(images, as_.value))
    if dry_run:
        return
    talk.holds(out)
    pipeline.refuse_lost_files([source.name for source in sources], out, format_)
    recipe = pipeline.Recipe.from_bundle(pipeline.load_bundle(bundle), run, pipeline.pick_device(device))
    recipe = pipeline.on_cluster(pipeline.in_processes(recipe, jobs), dask)
    talk.reads([source.path for source in sources], bundle)
    kept = pipeline.KeptDetections.beside(out, recipe, bundle)
    found = talk.follow(pipeline.detect_images(sources, recipe, kept))
    if not found:
        raise AmilError("No image could be searched; the reasons are listed above.")
    written = pipeline.write_detections(found, out, format_)
    kept.drop()
    if field_of_view:
        place = talk.follow(pipeline.write_fields_of_view(sources, out))
        talk.result(f"The fields of view are in {place}", fields_of_view=str(place))
    n_cells = sum(len(cells) for _, cells in found.values())
    talk.result(f"{n_cells} cells in {len(found)} images: {written}", n_cells=n_cells, cells=str(written))
    talk.finish(out)


def train_detector(
    images: Annotations,
    out: Out,
    start: Start = "",
    cells: CellsPlace = None,
    classes: Classes = None,
    partial: Partial = False,
    self_annotate: SelfAnnotate = False,
    also: Also = None,
    white: White = None,
    made: Made = 0,
    hold_out_fold: Annotated[int | None, typer.Option(help="Leave out the images of this fold.")] = None,
    validation_share: Share = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak step size.")] = None,
    freeze: Annotated[str, typer.Option(help="Keep these weights: nothing, or backbone.")] = "nothing",
    device: DeviceName = Device.auto,
    seed: Seed = 0,
    style: EventStyle = Style.bar,
) -> None:
    """Fine-tune the detector on annotated images, and say how good it is before and after.

    Annotations are COCO, label images, Shapes or Labels saved from napari, Pascal VOC, GeoJSON, tables of
    boxes or a cell list; validation images are of patients that the training does not see. The
    folder OUT is the run: given again, the command goes on where it was. Ctrl-C, or a file called
    'stop' in OUT, ends it after the present step with the best weights so far.
    """
    talk = Talk(style)
    start = start or ("nothing" if self_annotate else "starter")
    begun = pipeline.start_detector(start, pipeline.RunSettings())
    settings = pipeline.DetectorTrainingSettings
    given = {"steps": steps, "learning_rate": learning_rate, "validation_share": validation_share}
    values = {"seed": seed, "freeze": freeze, "backbone": begun.backbone} | _without_none(given)
    chosen = settings.parse(values) if start == "nothing" else settings.fine_tuning(**values)
    recipe = pipeline.Recipe.for_training(begun, begun.settings, pipeline.pick_device(device))
    kinds = tuple(classes or ()), tuple(white or ())
    read: list[Path] = []
    with talk.stopping(pipeline.make_folder(out) / pipeline.STOP_FILE):
        further = talk.follow(pipeline.made_fields(made, recipe.settings.normalisation, seed))
        for place in also or ():
            opening = _opened([place], None, kinds, None, read, partial=partial)
            further += talk.follow(pipeline.further_fields(opening, recipe, hold_out_fold))
        if self_annotate:
            pipeline.write_text(begun.settings.to_yaml(), out / "run.yaml")
            files = pipeline.training_images(
                pipeline.open_source(images, begun.settings.control), hold_out_fold
            )
            read += [path for path, _ in files.values()]
            work = pipeline.train_detector_on(files, recipe, chosen, out / "checkpoint.safetensors", further)
            pipeline.save_bundle(talk.follow(work), out / "bundle.safetensors")
            pipeline.write_json(pipeline.environment(), out / "environment.json")
            figures = {}
        else:
            annotated = _opened(images, cells, kinds, hold_out_fold, read, partial=partial)
            figures = talk.follow(pipeline.detector_run(annotated, recipe, chosen, out, further)).figures
    started_from = Path(start.removeprefix("coco:"))
    talk.reads(read, started_from if started_from.is_file() else None, starter=start == "starter")
    _say_trained(talk, figures, out)


def _opened(
    images: list[Path],
    cells: Path | None,
    kinds: tuple[tuple[str, ...], tuple[str, ...]],
    hold_out_fold: int | None,
    read: list[Path],
    *,
    partial: bool,
) -> Generator[Any, None, Any]:
    """Open the annotated images that the options leave and name their files in ``read``.

    ``kinds`` of cells are red (or any) and white.
    """
    cells_of_interest, white = kinds
    annotated = yield from pipeline.open_annotated(images, cells, cells_of_interest and sum(kinds, ()))
    read += [image.path for image in annotated.images.values()]
    return annotated.without_fold(hold_out_fold).marked(partial=partial, white=white)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def _say_trained(talk: Talk, figures: dict[str, dict[str, float]], out: Path) -> None:
    """Print the figures of the detector before and after, and its file."""
    for name in figures.get("after", {}):
        before, after = figures["before"][name], figures["after"][name]
        talk.result(f"{name:16} {before:.3f} -> {after:.3f}", figure=name, before=before, after=after)
    talk.result(f"The detector is in {out / 'bundle.safetensors'}", bundle=str(out / "bundle.safetensors"))
    talk.finish(out)


COMMANDS = {"detect": detect, "train-detector": train_detector}
