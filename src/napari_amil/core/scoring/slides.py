"""Fields of slides: chosen in the monolayer, copied, and their scores in pixels of the slide."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageDraw
import tifffile
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.core.base.files import json_sha256, read_json, replacing, write_exact_json
from napari_amil.core.base.names import printable, relative_files
from napari_amil.core.base.outputs import make_folder
from napari_amil.core.base.types import Bag, Cells, Cohort, Image
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.exchange.project import Project
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.images.monolayer import OVERVIEW_PX, Monolayer, find_monolayer
from napari_amil.core.images.slide import Slide, open_slide
from napari_amil.core.instances.sources import Source

_TILE_PX = 512
_CHOSEN, _SQUARES, _PICTURE = "fields.json", "squares.csv", "overview.png"
_GOOD, _BAD, _TAKEN = (0, 158, 115), (190, 190, 190), (213, 94, 0)


@dataclass(frozen=True)
class FieldChoice:
    """Wanted fields of a slide.

    Parameters
    ----------
    n_fields
        Number of fields; a slide with less monolayer gives fewer.
    region
        Instead of these the one field ``x, y, width, height`` in pixels of the slide.
    diameter_px
        Diameter of a typical cell in pixels of the slide; found if not given.
    """

    n_fields: int = 50
    region: tuple[int, int, int, int] | None = None
    diameter_px: float | None = None

    @classmethod
    def parse(cls, n_fields: int, region: str | None, diameter_px: float | None) -> Self:
        """Return the choice that options name; a region is ``x,y,width,height``.

        Raises
        ------
        SettingsError
            If the region is none.
        """
        if region is None:
            return cls(n_fields, None, diameter_px)
        try:
            x, y, width, height = (round(float(number)) for number in region.split(","))
        except ValueError:
            x = y = width = height = -1
        if min(x, y) < 0 or min(width, height) < 1:
            raise SettingsError(
                f"'{region}' is no region; give x, y, width and height in pixels, as in 3000,5000,2000,1500."
            )
        return cls(n_fields, (x, y, width, height), diameter_px)


@dataclass(frozen=True)
class SlideField:
    """A field of a slide that was copied: name of the image, and its place in pixels of the slide."""

    image: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class ChosenFields:
    """The fields of some slides: ``slide -> fields``, and the source that scores each slide as a bag."""

    fields: dict[str, list[SlideField]]
    source: Source


def choose_fields(
    slides: Sequence[Path], choice: FieldChoice, out: Path, control: str
) -> Generator[Event, None, ChosenFields]:
    """Choose and copy fields of every slide; a slide that cannot be used gives a `Failed`.

    ``out/fields/<slide>`` gets the fields as TIFF, ``out/slides/<slide>`` an overview with the monolayer and
    the table of all squares. Fields that were chosen alike before are taken over.

    Raises
    ------
    AmilError
        If no slide could be used.
    """
    names = relative_files([printable(path.name) for path in slides], "")
    if len(names) < len(slides):
        raise AmilError("Two slides have the same name; give them one after the other, with another --out.")
    found: dict[str, list[SlideField]] = {}
    for path, (name, place) in zip(slides, names.items(), strict=True):
        try:
            found[name] = yield from _fields_of(
                path, name, choice, out / "slides" / place, out / "fields" / place
            )
        except AmilError as error:
            yield Failed(name, str(error))
    if not found:
        raise AmilError("No slide could be used; the reasons are listed above.")
    bags: list[Bag] = []
    files: dict[str, tuple[Path, int]] = {}
    for name, fields in found.items():
        images = tuple(field.image for field in fields)
        bags.append(Bag(name, name, images, slides=dict.fromkeys(images, name)))
        files |= {field.image: (out / "fields" / field.image, 0) for field in fields}
    return ChosenFields(found, Source(Cohort(str(out / "fields"), tuple(bags), (control,), control), files))


def _fields_of(
    path: Path, name: str, choice: FieldChoice, notes: Path, folder: Path
) -> Generator[Event, None, list[SlideField]]:
    """Return the fields of one slide, copied or there before."""
    status = path.stat() if path.exists() else None
    seen = status and [status.st_size, status.st_mtime_ns]
    made_by = json_sha256([str(path.resolve()), seen, asdict(choice)])
    before = _chosen_before(notes / _CHOSEN, made_by, folder.parent)
    if before:
        yield Warned(f"{name}: its {len(before)} fields were chosen before and are taken over.")
        return before
    with open_slide(path) as slide:
        make_folder(notes)
        if choice.region is not None:
            places = pd.DataFrame([choice.region], columns=["x", "y", "width", "height"])
            _check_region(slide, choice.region)
        else:
            places = yield from _best_squares(slide, name, choice, notes)
        fields = []
        for number, (x, y, width, height) in enumerate(places.astype(int).itertuples(index=False), start=1):
            yield Step("fields", number - 1, len(places), f"{name}: copying fields")
            image = f"{folder.name}/{number:03}-x{x}-y{y}.tif"
            _copy_field(slide, (slice(y, y + height), slice(x, x + width)), folder.parent / image)
            fields.append(SlideField(image, x, y, width, height))
    write_exact_json(
        {"made_by": made_by, "slide": str(path.resolve()), "fields": [asdict(f) for f in fields]},
        notes / _CHOSEN,
    )
    return fields


def _chosen_before(file: Path, made_by: str, root: Path) -> list[SlideField]:
    """Return the fields that an earlier run copied alike; none if one is missing."""
    if not file.exists():
        return []
    noted: dict[str, Any] = read_json(file)
    if noted.get("made_by") != made_by:
        return []
    fields = [SlideField(**one) for one in noted["fields"]]
    return fields if all((root / field.image).exists() for field in fields) else []


def _check_region(slide: Slide, region: tuple[int, int, int, int]) -> None:
    x, y, width, height = region
    if x + width > slide.shape[1] or y + height > slide.shape[0]:
        raise SettingsError(
            f"The region {x},{y},{width},{height} leaves the slide, which has {slide.shape[1]} x "
            f"{slide.shape[0]} pixels; choose one inside."
        )


def _best_squares(
    slide: Slide, name: str, choice: FieldChoice, notes: Path
) -> Generator[Event, None, pd.DataFrame]:
    """Return places of the best squares, and write the map."""
    found: Monolayer = yield from find_monolayer(slide, choice.n_fields, choice.diameter_px)
    squares = found.squares
    good = int(squares["monolayer"].sum())
    taken = squares.head(min(choice.n_fields, good or choice.n_fields))
    if good < choice.n_fields:
        kept = f"the {good} that are" if good else f"the {len(taken)} best all the same"
        yield Warned(
            f"{name}: only {good} of {len(squares)} squares lie in a monolayer (cells apart, flat and in "
            f"focus); {kept} are scored."
        )
    write_table(squares.assign(taken=squares.index < len(taken)), notes / _SQUARES)
    with replacing(notes / _PICTURE) as partial:
        _drawn(found, len(taken)).save(partial, format="PNG")
    return pd.DataFrame({"x": taken["x"], "y": taken["y"], "width": taken["side"], "height": taken["side"]})


def _drawn(found: Monolayer, n_taken: int) -> PIL.Image.Image:
    """Return the overview with a frame around each square that was looked at."""
    picture = PIL.Image.fromarray(found.overview)
    pen = PIL.ImageDraw.Draw(picture)
    for number, square in found.squares.iloc[::-1].iterrows():
        y, x = (int(square[axis]) * OVERVIEW_PX for axis in ("row", "column"))
        colour = _TAKEN if int(str(number)) < n_taken else _GOOD if square["monolayer"] else _BAD
        pen.rectangle((x, y, x + OVERVIEW_PX - 1, y + OVERVIEW_PX - 1), outline=colour)
    return picture


def _copy_field(slide: Slide, window: tuple[slice, slice], path: Path) -> None:
    """Write a part of a slide as a tiled TIFF, of which one row of tiles at a time is in memory."""
    rows, columns = window
    height, width = (axis.stop - axis.start for axis in window)

    def tiles() -> Iterator[Image]:
        for top in range(0, height, _TILE_PX):
            band = slide.read(slice(rows.start + top, min(rows.start + top + _TILE_PX, rows.stop)), columns)
            for left in range(0, width, _TILE_PX):
                part = band[:, left : left + _TILE_PX]
                missing = [(0, _TILE_PX - length) for length in part.shape[:2]]
                yield np.pad(part, [*missing, (0, 0)])

    resolution: dict[str, Any] = {}
    if slide.pixel_um:
        per_cm = 1e4 / slide.pixel_um
        resolution = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
    with replacing(path) as partial:
        tifffile.imwrite(
            partial,
            tiles(),
            shape=(height, width, 3),
            dtype=np.uint8,
            tile=(_TILE_PX, _TILE_PX),
            photometric="rgb",
            compression="zlib",
            metadata=None,
            bigtiff=height * width > 10**9,
            **resolution,
        )


def write_slide_results(project: Project, chosen: ChosenFields, out: Path) -> list[Path]:
    """Write the scored cells of every slide in pixels of the slide, and return the GeoJSON files.

    ``out/slides/<slide>/cells.geojson`` opens on the slide in QuPath, ``cells.csv`` is the same as a table.
    Cells are numbered anew within the slide.
    """
    places = relative_files(chosen.fields, "")
    written = []
    for name, fields in chosen.fields.items():
        tables, outlines = zip(*(_on_slide(project, field) for field in fields), strict=True)
        table = pd.concat(tables, ignore_index=True)
        if table.empty:
            continue
        table["cell_id"] = np.arange(1, len(table) + 1)
        cells = Cells.from_table(table, tuple(one for part in outlines for one in part))
        folder = out / "slides" / places[name]
        write_geojson(cells, table, folder / "cells.geojson")
        write_table(table, folder / "cells.csv")
        written.append(folder / "cells.geojson")
    return written


def _on_slide(project: Project, field: SlideField) -> tuple[pd.DataFrame, list[NDArray[np.float32]]]:
    """Return the rows of the scored cells of a field, and their outlines, in pixels of the slide."""
    cells, table = project.image_cells(field.image)
    shift = np.array([field.y, field.x], dtype=np.float32)
    table[BOX_COLUMNS] = cells.boxes + np.tile(shift, 2)
    return table, [outline + shift for outline in cells.outlines]
