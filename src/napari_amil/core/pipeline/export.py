"""Export a scored folder to the formats of other programs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.core.base.locks import locked
from napari_amil.core.base.names import files_of_images, relative_files
from napari_amil.core.base.outputs import make_folder, write_text
from napari_amil.core.base.own_files import replacing_own
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.cell_types.named_cells import NAME
from napari_amil.core.exchange.coco import write_coco
from napari_amil.core.exchange.field_files import WRITERS
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.exchange.h5ad import write_h5ad
from napari_amil.core.exchange.project import Project, refuse_scored_folder
from napari_amil.core.exchange.spatial import write_spatialdata
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.exchange.yolo import CELL_NAME, CLASSES, write_yolo
from napari_amil.core.images.fields import is_large, open_field

FORMATS = ("csv", "parquet", "geojson", "coco", "h5ad", "spatialdata", *WRITERS)
"""Formats that `export_project` writes."""


def choose_bags(project: Project, names: Sequence[str]) -> Project:
    """Return the project of the bags called ``names``, of all where none is named.

    Raises
    ------
    AmilError
        If there is no such bag.
    """
    known = project.bags["bag"].tolist()
    wrong = [name for name in names if name not in known]
    if wrong:
        listed = ", ".join(map(str, known[:6])) + (" ..." if len(known) > 6 else "")
        raise AmilError(f"There is no bag '{wrong[0]}' in this project; it has {listed}.")
    return project.of_bags(names) if names else project


def export_project(project: Project, kind: str, out: Path) -> Generator[Event, None, list[Path]]:
    """Write a project in one format and return the files, or the folder of one file per image.

    Parameters
    ----------
    kind
        One of `FORMATS`. ``csv`` and ``parquet`` give ``cells`` and ``bags``, ``geojson`` one file
        per image for QuPath, ``coco`` one file of all images, whose size is read from the images,
        ``h5ad`` one file for scanpy, ``spatialdata`` one Zarr folder with the images in it. ``labels``
        (label images), ``imagej`` (RoiSets), ``labelme`` and ``yolo`` give a folder of that name with one
        file per image; that of YOLO has the types in ``classes.txt``.

    Raises
    ------
    AmilError
        If the format is another one, or a file cannot be written.
    """
    if kind not in FORMATS:
        raise AmilError(f"There is no format '{kind}'; choose one of {', '.join(FORMATS)}.")
    if kind == "csv":
        refuse_scored_folder(out)
    with locked(make_folder(out)), replacing_own(out) as stage:
        if kind == "geojson":
            yield from _geojson(project, stage / "geojson")
            return [out / "geojson"]
        if kind in WRITERS:
            yield from _of_fields(project, kind, stage / kind)
            return [out / kind]
        if kind == "coco":
            yield from _coco(project, stage / "cells.coco.json")
            return [out / "cells.coco.json"]
        if kind == "spatialdata":
            yield from _spatialdata(project, stage / "cells.zarr")
            return [out / "cells.zarr"]
        yield Step("export", 0, 1, f"Writing {kind}")
        if kind == "h5ad":
            write_h5ad(project, stage / "cells.h5ad")
            return [out / "cells.h5ad"]
        names = f"cells.{kind}", f"bags.{kind}"
        for table, name in zip((project.cells, project.bags), names, strict=True):
            write_table(table, stage / name)
        return [out / name for name in names]


def _geojson(project: Project, folder: Path) -> Generator[Event, None, None]:
    images = [str(name) for name in project.cells["image"].unique()]
    files = relative_files(images, ".geojson")
    for number, image in enumerate(images):
        yield Step("export", number, len(images), image)
        cells, scores = project.image_cells(image)
        write_geojson(cells, scores, folder / files[image])


def _coco(project: Project, path: Path) -> Generator[Event, None, None]:
    shapes = yield from _shapes(project)
    found: dict[str, tuple[tuple[int, int], Cells]] = {}
    scores: dict[str, pd.DataFrame] = {}
    for image, shape in shapes.items():
        cells, scores[image] = project.image_cells(image)
        found[image] = shape, cells
    write_coco(found, path, scores)


def _spatialdata(project: Project, path: Path) -> Generator[Event, None, None]:
    """Write the images with the cells; one that cannot be read, or is large, is left out."""
    yield Step("export", 0, 1, "Writing spatialdata")
    events: list[Event] = []

    def read(image: str) -> Image | None:
        try:
            with open_field(*project.image_file(image)) as field:
                if is_large(field.shape):
                    events.append(Warned(f"'{image}' is too large to be copied; only its cells are written."))
                    return None
                return field.window(slice(None), slice(None))
        except AmilError as error:
            events.append(Failed(image, str(error)))
            return None

    write_spatialdata(project, read, path)
    yield from events


def _of_fields(project: Project, kind: str, folder: Path) -> Generator[Event, None, None]:
    """Write one file per image, below the folder as the image lies below its own."""
    shapes = yield from _shapes(project)
    suffix, write = WRITERS[kind]
    if kind == "yolo":
        types = sorted(set(project.cells[NAME].fillna("")) - {"", CELL_NAME}) if NAME in project.cells else []
        write_text("".join(f"{name}\n" for name in (CELL_NAME, *types)), folder / CLASSES)
        write = partial(write_yolo, classes=(CELL_NAME, *types))
    for image, file in files_of_images(shapes, suffix).items():
        cells, scores = project.image_cells(image)
        write(cells, scores, (image, shapes[image]), folder / file)


def _shapes(project: Project) -> Generator[Event, None, dict[str, tuple[int, int]]]:
    """Return height and width of every image that can be read."""
    shapes: dict[str, tuple[int, int]] = {}
    images = [str(name) for name in project.cells["image"].unique()]
    for number, image in enumerate(images):
        yield Step("export", number, len(images), image)
        try:
            with open_field(*project.image_file(image)) as field:
                shapes[image] = field.shape
        except AmilError as error:
            yield Failed(image, str(error))
    if not shapes:
        raise AmilError(
            "This format needs the size of the images, and none of them could be read; put them back."
        )
    return shapes
