"""Apply a function to the cells of every image of a source; gather the rows by bag."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError, ImageError
from napari_amil.core.base.events import Event, Failed, Step
from napari_amil.core.base.types import Cells, Cohort
from napari_amil.core.cohort.bag_level import at_level
from napari_amil.core.images.fields import Field, is_large, open_field
from napari_amil.core.instances.cell_image import refuse_other_cells, whole_image
from napari_amil.core.instances.executor import map_fields
from napari_amil.core.instances.extract import (
    Recipe,
    at_scale_of,
    notes_of,
    prepare,
    recipe_for,
    white_cells_of,
    without_steps,
)
from napari_amil.core.instances.field_blocks import PreparedField
from napari_amil.core.instances.find_cells import detect_prepared
from napari_amil.core.instances.sources import Source

PerCell = Callable[[PreparedField, Cells, Recipe], NDArray[Any] | Generator[Event, None, NDArray[Any]]]
"""Turns the cells of one field into one row of values each, at once or with events of progress."""

PerField = Callable[[PreparedField, Cells], Any]
"""Returns one value of a field and its cells."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """The cells of a cohort, each once, with one row of values.

    Parameters
    ----------
    cohort
        The bags that hold a cell, now with their cells.
    values
        ``(n_cells, ...)`` what was wanted of each cell.
    rows
        For each bag the rows of ``values``: images in the order of ``bag.cells``.
    notes
        ``image -> what was wanted of its field``.
    """

    cohort: Cohort
    values: NDArray[Any]
    rows: tuple[NDArray[np.int64], ...]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> NDArray[np.str_]:
        """Image of each stored cell, ``(n_cells,)``."""
        names = np.full(len(self.values), "", dtype=object)
        for bag, rows in zip(self.cohort, self.rows, strict=True):
            names[rows] = np.repeat(list(bag.cells), [len(cells) for cells in bag.cells.values()])
        return names.astype(np.str_)

    @property
    def slides(self) -> NDArray[np.str_] | None:
        """Slide of each stored cell, ``(n_cells,)``; None where the slide of an image is not known."""
        known = {image: slide for bag in self.cohort for image, slide in bag.slides.items()}
        if any(image not in known for bag in self.cohort for image in bag.cells):
            return None
        return np.array([known.get(image, "") for image in self.images], dtype=np.str_)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Box of each stored cell, ``(n_cells, 4)``."""
        boxes = np.full((len(self.values), 4), np.nan, dtype=np.float32)
        for bag, rows in zip(self.cohort, self.rows, strict=True):
            boxes[rows] = np.concatenate([cells.boxes for cells in bag.cells.values()])
        return boxes


def gather(
    source: Source, recipe: Recipe, per_cell: PerCell, per_field: PerField | None = None
) -> Generator[Event, None, Gathered]:
    """Apply ``per_cell`` to every cell of every image; yield a `Step` per image.

    The bags of the source are samples; those of the result are what the settings call a bag.
    An image that cannot be used gives a `Failed` and its bag goes on without it; a bag that ends
    without a cell gives a `Failed` and is left out.

    Raises
    ------
    AmilError
        If no bag is left.
    """
    refuse_other_cells(source.cohort, recipe.settings)
    cohort = at_level(source.cohort, recipe.settings.bag_level)
    bags, places = list(cohort), _places(cohort)
    items = _items(source, places)
    done = yield from map_fields(field_work(recipe, per_cell, per_field), items, "images", recipe.executor)
    rows: dict[str, dict[str, NDArray[np.int64]]] = {bag.bag: {} for bag in bags}
    found: dict[str, dict[str, Cells]] = {bag.bag: {} for bag in bags}
    n_rows = 0
    for image, (cells, _, _) in done.items():
        given, owners = places[image]
        if given is None:
            owners = [(bag, cells, np.arange(len(cells))) for bag, _, _ in owners]
        for bag, own, index in owners:
            rows[bag][image], found[bag][image] = index + n_rows, own
        n_rows += len(cells)
    yield Step("images", len(items), len(items), "All images read")
    kept = [bag.with_cells(found[bag.bag]) for bag in bags if sum(map(len, found[bag.bag].values()))]
    lost = {bag.bag for bag in bags if bag.images != (bag.bag,)} - {bag.bag for bag in kept}
    for name in sorted(lost):
        yield Failed(name, f"The bag '{name}' is left out, since none of its images gave a cell.")
    if not kept:
        raise AmilError("No image could be used, so there is nothing to do; the reasons are listed above.")
    bag_rows = tuple(np.concatenate(list(rows[bag.bag].values())) for bag in kept)
    values = np.concatenate([values for _, values, _ in done.values()])
    notes = {image: note for image, (_, _, note) in done.items()}
    return Gathered(replace(cohort, bags=tuple(kept)), values, bag_rows, notes)


FieldItem = tuple[tuple[Path, int], Cells | None]
"""File and page of a field, and its cells, None where they must be detected."""


def field_items(source: Source, recipe: Recipe) -> dict[str, FieldItem]:
    """Return the fields on which `gather` works, in its order."""
    return _items(source, _places(at_level(source.cohort, recipe.settings.bag_level)))


def field_work(
    recipe: Recipe, per_cell: PerCell, per_field: PerField | None
) -> Callable[[str, FieldItem], Generator[Event, None, tuple[Cells, NDArray[Any], Any]]]:
    """Return the function that `gather` applies to each field."""
    return partial(_of_image, recipe=recipe, per_cell=per_cell, per_field=per_field)


def _items(source: Source, places: dict[str, tuple[Cells | None, Owners]]) -> dict[str, FieldItem]:
    return {image: (file, places[image][0]) for image, file in source.files.items() if image in places}


def without_cut_cells(gathered: Gathered) -> Gathered:
    """Return the bags without cells that the border of an image cuts: half a cell is unlike any whole one.

    Raises
    ------
    AmilError
        If no bag keeps a cell.
    """
    bags, rows = [], []
    for bag, own in zip(gathered.cohort, gathered.rows, strict=True):
        whole = {image: ~cells.touches_border for image, cells in bag.cells.items()}
        kept = own[np.concatenate(list(whole.values()))]
        if len(kept):
            cells = {image: cells.take(whole[image]) for image, cells in bag.cells.items()}
            types = {image: names[whole[image]] for image, names in bag.cell_type.items()}
            bags.append(replace(bag, cells=cells, cell_type=types))
            rows.append(kept)
    if not bags:
        raise AmilError(
            "The border of its image cuts every cell, so there is nothing to do; use larger fields."
        )
    return replace(gathered, cohort=replace(gathered.cohort, bags=tuple(bags)), rows=tuple(rows))


Owners = list[tuple[str, Cells, NDArray[np.int64]]]
"""Bags that hold cells of an image: name, cells, and their rows among the cells of the image."""


def _places(cohort: Cohort) -> dict[str, tuple[Cells | None, Owners]]:
    """Return for each image its distinct cells, None where they must be detected, and their bags."""
    owners: dict[str, Owners] = {}
    for bag in cohort:
        for image in bag.images:
            own = bag.cells.get(image, Cells(np.zeros((0, 4), np.float32)))
            owners.setdefault(image, []).append((bag.bag, own, np.zeros(0, np.int64)))
    places: dict[str, tuple[Cells | None, Owners]] = {}
    for image, holders in owners.items():
        distinct, index = _distinct([own for _, own, _ in holders])
        if not len(distinct):
            places[image] = None, holders
            continue
        ends = np.cumsum([len(own) for _, own, _ in holders])[:-1]
        parts = np.split(index, ends)
        places[image] = distinct, [(b, own, i) for (b, own, _), i in zip(holders, parts, strict=True)]
    return places


def _distinct(parts: Sequence[Cells]) -> tuple[Cells, NDArray[np.int64]]:
    """Return cells that differ in box or outline, and which of them each given cell is."""
    boxes = np.concatenate([part.boxes for part in parts])
    outlines = [outline for part in parts for outline in part.outlines]
    numbers: dict[bytes, int] = {}
    drawn = [numbers.setdefault(outline.tobytes(), len(numbers)) for outline in outlines]
    keys = np.column_stack([boxes.astype(np.float64), drawn])
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    cut = np.concatenate([part.touches_border for part in parts])
    cells = Cells(boxes[first], tuple(outlines[row] for row in first), touches_border=cut[first])
    return cells, index.ravel().astype(np.int64)


def _of_image(
    image: str,
    item: FieldItem,
    recipe: Recipe,
    per_cell: PerCell,
    per_field: PerField | None,
) -> Generator[Event, None, tuple[Cells, NDArray[Any], Any]]:
    """Return the cells of an image, found where none are given, their values, and the note on the field."""
    place, given = item
    with open_field(*place) as field:
        yield from notes_of(field, image)
        here = yield from recipe_for(recipe, place[0], image, place[1])
        if given is not None:
            _check_boxes(image, given, field)
        if given is None and here.settings.model.cells == "white":
            given = yield from _white_cells(field, here, image)
        if given is None:
            here.bundle.need_detector()
        seen, large = prepare(field, here), is_large(field.shape)
        if given is None:
            work = detect_prepared(seen, here)
            seen, candidates = yield from without_steps(work, image, but_keep=large)
            cells = candidates.select(here.settings.selection)
        else:
            cells = given
            seen = yield from without_steps(at_scale_of(seen, cells, here), image)
        if not len(cells):
            raise ImageError(
                f"No cell was found in '{image}'; check that it is a smear, or lower the threshold."
            )
        values = per_cell(seen, cells, here)
        if isinstance(values, Generator):
            values = yield from without_steps(values, image, but_keep=large)
        return cells, values, None if per_field is None else per_field(seen, cells)


def _white_cells(field: Field, recipe: Recipe, image: str) -> Generator[Event, None, Cells]:
    """Return the white cells of a smear, or the one that fills the image of a single cell."""
    if recipe.settings.detection.cells == "red":
        return whole_image(field.shape)
    return (yield from without_steps(white_cells_of(field, recipe), image))


def _check_boxes(image: str, cells: Cells, field: Field) -> None:
    """Refuse boxes that lie outside their image."""
    height, width = field.shape
    outside = (
        (cells.boxes[:, 0] >= height) | (cells.boxes[:, 1] >= width) | (cells.boxes[:, 2:] <= 0).any(axis=1)
    )
    if outside.any():
        raise ImageError(
            f"{int(outside.sum())} boxes of '{image}' lie outside its {width} x {height} pixels; "
            "check that the table belongs to these images."
        )


def cohort_hash(gathered: Gathered) -> str:
    """Return a short hash of which cells of which images made up which bags."""
    digest = hashlib.sha256()
    for bag in gathered.cohort:
        digest.update(f"{bag.bag}\0{bag.patient}\0{bag.label}".encode())
        for image, cells in bag.cells.items():
            digest.update(image.encode() + cells.boxes.tobytes())
    return digest.hexdigest()[:16]
