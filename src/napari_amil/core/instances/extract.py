"""Detect the cells of one field, and cut the input of the encoder from its pixels."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_amil.core.anomaly.channels import reads_pixels
from napari_amil.core.base.events import Event, Result, Step, Warned, translated
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.detection.network_input import NetworkInput, network_input
from napari_amil.core.detection.predict import roi_maps
from napari_amil.core.detection.scale import given_doubt
from napari_amil.core.detection.select import Candidates
from napari_amil.core.encoders.roi import scale_roi_maps
from napari_amil.core.images.crops import extract_crops
from napari_amil.core.images.fields import Field, as_field
from napari_amil.core.instances.adjacent_cells import with_adjacent_cells
from napari_amil.core.instances.cell_image import at_size_of, crop_diameter, prepare_cell_image
from napari_amil.core.instances.cell_inputs import crops_with_masks
from napari_amil.core.instances.field_blocks import PreparedField, split_into_blocks
from napari_amil.core.instances.field_scale import agreed_scale
from napari_amil.core.instances.find_cells import detect_prepared
from napari_amil.core.instances.recipe import Recipe as Recipe
from napari_amil.core.instances.recipe import recipe_for as recipe_for
from napari_amil.core.mil.instances import with_measurements
from napari_amil.core.morphology.masks import GRID
from napari_amil.core.morphology.measures import measure
from napari_amil.core.morphology.white_cells import measure_white


def notes_of(field: Field, image: str) -> Iterator[Event]:
    """Warn of peculiarities of the file of an image, such as an offset of its values."""
    for note in field.notes:
        yield Warned(f"{image}: {note}.")


def detect_field(image: Image, recipe: Recipe) -> Generator[Event, None, Candidates]:
    """Find every candidate cell of one field ``(height, width, 3)``: the expensive step."""
    return (yield from detect_in(as_field(image), recipe))


def detect_in(field: Field, recipe: Recipe) -> Generator[Event, None, Candidates]:
    """Find every candidate cell of a field of any size; a large one is read tile by tile.

    Raises
    ------
    BundleError
        If white cells are wanted and the detector knows none.
    """
    recipe.bundle.need_detector()
    yield Step("normalise", 0, 1, "Evening out background and stain")
    settings = recipe.settings
    view = network_input(field, settings.detection, settings.normalisation)
    return (yield from detect_prepared(PreparedField(field, view), recipe))[1]


def white_cells_of(field: Field, recipe: Recipe) -> Generator[Event, None, Cells]:
    """Return the white cells of a smear, for a model of white cells.

    Raises
    ------
    BundleError
        If the detector knows none.
    """
    candidates = yield from detect_in(field, recipe)
    return candidates.select(recipe.settings.selection)


def at_scale_of(
    seen: PreparedField, cells: Cells, recipe: Recipe, agreed_px: float | None = None
) -> Generator[Event, None, PreparedField]:
    """Return a field at the scale of its cells, for cells that were found or listed before.

    Their scale was agreed on when they were found: where they speak against the estimated diameter, the
    detector looks for another one, as it did then.

    Parameters
    ----------
    agreed_px
        The diameter that was agreed on, where that is known; the detector is not asked again.
    """
    if recipe.settings.model.cells == "white":
        return at_size_of(seen, cells, recipe.settings)
    if agreed_px is not None:
        same = seen.view.diameter_px == agreed_px
        return seen if same else replace(seen, view=seen.view.at_diameter(agreed_px))
    detector, given = recipe.bundle.detector, recipe.settings.detection.cell_diameter_px
    reason = given_doubt(cells, seen.view, strict=True)
    if not reason or given or detector is None:
        return seen
    rescaled, note = yield from agreed_scale(detector, seen, reason, recipe.device)
    if note:
        yield Warned(note)
    return rescaled


def prepare(image: Image | Field | PreparedField, recipe: Recipe) -> PreparedField:
    """Return an image or field of any size normalised, its cells at the scale of the networks."""
    if isinstance(image, PreparedField):
        return image
    field, settings = as_field(image), recipe.settings
    if settings.model.cells == "white":
        return prepare_cell_image(field, settings)
    return PreparedField(field, network_input(field, settings.detection, settings.normalisation))


def without_steps(
    work: Generator[Event, None, Result], image: str, but_keep: bool = False
) -> Generator[Event, None, Result]:
    """Run the work on one image among many; pass on warnings, with its name, and no steps.

    ``but_keep`` passes on the steps too, for an image that takes long.
    """

    def named(event: Event) -> Event | None:
        if isinstance(event, Warned):
            return Warned(f"{image}: {event.message}")
        return event if but_keep else None

    return (yield from translated(work, named))


def field_instances(image: Image | Field | PreparedField, cells: Cells, recipe: Recipe) -> NDArray[Any]:
    """Return the input of the encoder for each cell.

    Returns
    -------
    ``(n_cells, 3, size, size)`` uint8 crops, or ``(n_cells, channels, 14, 14)`` float16 RoI maps,
    as the model of the recipe wants them; with measurements where it embeds these too
    (`napari_amil.core.mil.instances.with_measurements`).
    """
    measured = recipe.settings.model.measured
    return in_order(list(instance_blocks(prepare(image, recipe), cells, recipe, measured=measured)))


def measured_instances(image: Image | Field | PreparedField, cells: Cells, recipe: Recipe) -> NDArray[Any]:
    """Return the input of the encoder for each cell, always with its measurements."""
    return in_order(list(instance_blocks(prepare(image, recipe), cells, recipe, measured=True)))


def instance_blocks(
    seen: PreparedField, cells: Cells, recipe: Recipe, *, measured: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Yield the rows of cells and their inputs of the encoder (`field_instances`), block by block.

    Of a large field only the pixels around the cells of one block are in memory; the RoI maps of all its
    cells are, 25 kB each, since they may be scaled over the field.
    """
    settings, view = recipe.settings, seen.view
    white = settings.model.cells == "white"
    if measured and not white:
        cells = with_adjacent_cells(seen, cells, recipe.bundle, settings)
    maps = _roi_maps(view, cells, recipe) if settings.model.instance == "roi" else None
    if maps is not None and not measured:
        yield np.arange(len(cells)), maps
        return
    crop_px = crop_diameter(view, settings)
    reach_px = max(settings.crop.field * crop_px, GRID.field * view.diameter_px) / 2
    for block in split_into_blocks(view, cells, reach_px):
        if maps is None:
            windows = extract_crops(block.normalised, block.cells.boxes, crop_px, settings.crop)
            pixels = np.asarray((windows * 255).round(), dtype=np.uint8)
        else:
            pixels = maps[block.rows]
        if measured:
            where = block.normalised, block.cells, view.diameter_px
            crops = crops_with_masks(*where, crop_px, settings.crop) if reads_pixels(settings.model) else None
            numbers = measure_white(*where) if white else measure(*where)
            pixels = with_measurements(pixels, numbers, crops)
        yield block.rows, pixels


def in_order(found: Sequence[tuple[NDArray[np.int64], NDArray[Any]]]) -> NDArray[Any]:
    """Return the values of the cells of all blocks in the order of the cells."""
    if len(found) == 1:
        return found[0][1]
    rows, values = (np.concatenate(column) for column in zip(*found, strict=True))
    return np.asarray(values[np.argsort(rows)])


def _roi_maps(view: NetworkInput, cells: Cells, recipe: Recipe) -> NDArray[Any]:
    """Return RoI maps, scaled to -1..1 over the field if the model wants that."""
    tile_px = recipe.settings.detection.tile_px
    maps = torch.from_numpy(
        roi_maps(recipe.bundle.need_detector(), view, cells.boxes, recipe.device, tile_px)
    )
    if recipe.settings.model.roi_scaling:
        maps = scale_roi_maps(maps)
    return np.asarray(maps.to(torch.float16).numpy())
