"""Detect the cells of many images, and write them as a table or for other programs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.core.base.names import files_of_images, relative_files
from napari_amil.core.base.own_files import refuse_foreign_files, replacing_own
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.coco import write_coco
from napari_amil.core.exchange.field_files import WRITERS
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.exchange.project import refuse_scored_folder
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.images.field_of_view import visible_mask
from napari_amil.core.images.fields import is_large, open_field
from napari_amil.core.images.read import ImageSource
from napari_amil.core.instances.executor import map_fields
from napari_amil.core.instances.extract import Recipe, detect_in, notes_of, recipe_for, without_steps
from napari_amil.core.scoring.kept_detections import Detection, KeptDetections

Found = dict[str, tuple[tuple[int, int], Cells]]
"""``image name -> ((height, width), cells)``"""
_OF_IMAGES = {"geojson": ".geojson", **{kind: suffix for kind, (suffix, _) in WRITERS.items()}}


def detect_images(
    sources: Sequence[ImageSource], recipe: Recipe, kept: KeptDetections | None = None
) -> Generator[Event, None, Found]:
    """Find the cells of every image; one bad image gives a `Failed`.

    Large images are read tile by tile, and yield a `Step` for each tile.

    Parameters
    ----------
    kept
        Store of the cells of each image, from which stopped work resumes.
    """
    recipe.bundle.need_detector()
    known = {source.name: before for source in sources if kept and (before := kept.read(source))}
    if known:
        yield Warned(f"{len(known)} of {len(sources)} images were searched before and are taken over.")
    todo = {source.name: source for source in sources if source.name not in known}
    work = partial(_cells_of_image, recipe=recipe, kept=kept)
    known |= yield from map_fields(work, todo, "images", recipe.executor)
    found = {source.name: known[source.name] for source in sources if source.name in known}
    yield Step("images", len(sources), len(sources), "All images done")
    return found


def _cells_of_image(
    name: str, source: ImageSource, recipe: Recipe, kept: KeptDetections | None
) -> Generator[Event, None, Detection]:
    """Return the size of an image and its cells."""
    here = yield from recipe_for(recipe, source.path, name, source.page)
    with open_field(source.path, source.page) as field:
        yield from notes_of(field, name)
        work = detect_in(field, here)
        candidates = yield from without_steps(work, name, but_keep=is_large(field.shape))
        found = field.shape, candidates.select(recipe.settings.selection)
    if kept is not None:
        kept.write(source, found)
    return found


def write_fields_of_view(sources: Sequence[ImageSource], out: Path) -> Generator[Event, None, Path]:
    """Write a mask of the field of view of every image (PNG, 255 inside), and return their folder.

    Raises
    ------
    AmilError
        If the folder cannot be written.
    """
    folder = out / "field-of-view"
    places = {source.name: source for source in sources}
    with replacing_own(folder) as stage:
        for number, (name, file) in enumerate(relative_files(places, ".png").items()):
            yield Step("field-of-view", number, len(places), "Looking for the field of view")
            target = stage / file
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open_field(places[name].path, places[name].page) as field:
                    mask = visible_mask(field)
            except AmilError as error:
                yield Failed(name, str(error))
                continue
            PIL.Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(target)
    return folder


def cell_table(found: Found) -> pd.DataFrame:
    """Return one row per cell of every image."""
    tables = []
    for image, (_, cells) in found.items():
        table = cells.table()
        table.insert(0, "image", image)
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"image": []})


def write_detections(found: Found, out: Path, kind: str) -> Path:
    """Write detected cells as ``csv``, ``parquet``, ``coco``, ``geojson`` or one of `WRITERS`; return where.

    GeoJSON and the formats of `WRITERS` hold one image a file, so they go into a folder.

    Raises
    ------
    AmilError
        As `refuse_lost_files`, or if a file cannot be written.
    """
    refuse_lost_files(found, out, kind)
    files = _files_of(found, kind)
    with replacing_own(out) as stage:
        if kind == "geojson":
            for image, file in files.items():
                write_geojson(found[image][1], None, stage / file)
        elif kind in WRITERS:
            for image, file in files.items():
                WRITERS[kind][1](found[image][1], None, (image, found[image][0]), stage / file)
        elif kind == "coco":
            write_coco(found, stage / files[""])
        else:
            write_table(cell_table(found), stage / files[""])
    return out / (kind if kind in _OF_IMAGES else files[""])


def refuse_lost_files(images: Iterable[str], out: Path, kind: str) -> None:
    """Refuse, before the work is done, to overwrite files of another command or hand.

    Raises
    ------
    AmilError
        Naming the file that would be lost.
    """
    if kind == "csv":
        refuse_scored_folder(out)
    refuse_foreign_files(out, _files_of(images, kind).values())


def _files_of(images: Iterable[str], kind: str) -> dict[str, Path]:
    """Return the file of each image, or of all together under ``""``, relative to the folder of results."""
    if kind in _OF_IMAGES:
        files = (files_of_images if kind in WRITERS else relative_files)(images, _OF_IMAGES[kind])
        return {image: Path(kind, file) for image, file in files.items()}
    return {"": Path("cells.coco.json" if kind == "coco" else f"cells.{kind}")}
