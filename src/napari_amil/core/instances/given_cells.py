"""Give a cohort the cells of another program: boxes, outlines or labels from files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Warned, translated
from napari_amil.core.base.types import Cells, Image, has_outline, polygon_area
from napari_amil.core.detection.outlines import mask_outline, shared_area
from napari_amil.core.detection.predict import maps_by_tile, roi_maps
from napari_amil.core.detection.scale import given_doubt
from napari_amil.core.exchange.annotation import Annotation, left_out_sentence
from napari_amil.core.exchange.annotation_files import read_annotations
from napari_amil.core.exchange.labels import is_label_image
from napari_amil.core.images.fields import Field, is_large, open_field
from napari_amil.core.images.read import ImageSource
from napari_amil.core.instances.executor import map_fields
from napari_amil.core.instances.extract import Recipe, prepare
from napari_amil.core.instances.sources import Source


def give_cells(
    source: Source, place: Path, recipe: Recipe, classes: Collection[str] = ()
) -> Generator[Event, None, Source]:
    """Return the source with the cells of a file or folder, whatever program wrote it.

    A cell that comes as a box gets the outline that the detector of the recipe draws in it, so that a
    box of our own table, read again, has the scores of the cell that was found. Images without cells
    are left out.

    Parameters
    ----------
    source
        Bags of images.
    place
        Boxes, outlines or labels (`napari_amil.core.exchange.annotation_files`).
    recipe
        Detector, settings and device.
    classes
        Names of the objects that are cells, in formats that name them; all where there is none.

    Raises
    ------
    AmilError
        If ``place`` cannot be used, or gives no image a cell.
    """
    images = {
        name: ImageSource(path, page, name)
        for name, (path, page) in source.files.items()
        if not is_label_image(name)
    }
    problems: list[Event] = []
    found = yield from translated(read_annotations(place, images, classes), _noting(problems))
    outlined = yield from map_fields(
        partial(_given, recipe=recipe),
        {name: (source.files[name], annotation) for name, annotation in found.items()},
        "cells",
        recipe.executor,
    )
    cells = {name: given for name, given in outlined.items() if len(given)}
    yield from _say_without(list(images), cells)
    bags = [
        replace(bag, images=own, cells={name: cells[name] for name in own}, cell_type={})
        for bag in source.cohort
        if (own := tuple(name for name in bag.images if name in cells))
    ]
    if not bags:
        raise AmilError(
            f"'{place}' gives no image a cell that can be used; the reasons are listed above."
            if problems or any(len(one.cells) for one in found.values())
            else f"'{place}' has no annotation of '{next(iter(images), '')}' or another image; give the file "
            "itself, or name annotations like their images."
        )
    return replace(source, cohort=replace(source.cohort, bags=tuple(bags)))


def _noting(problems: list[Event]) -> Callable[[Event], Event]:
    """Return a function that passes an event on, and adds warnings and failures to ``problems``."""

    def note(event: Event) -> Event:
        if isinstance(event, Failed | Warned):
            problems.append(event)
        return event

    return note


def _given(
    name: str, item: tuple[tuple[Path, int], Annotation], recipe: Recipe
) -> Generator[Event, None, Cells]:
    """Return the annotated cells of an image, with outlines."""
    place, annotation = item
    with open_field(*place) as field:
        placed = annotation.within(name, field.shape)
        if placed.left_out:
            yield Warned(left_out_sentence(name, placed.left_out))
        given = placed.cells
        return with_outlines(field, given, recipe) if len(given) else given


def with_outlines(image: Image | Field, cells: Cells, recipe: Recipe) -> Cells:
    """Return cells of a field, those that are mere boxes with outlines of their own, and overlaps flagged."""
    boxed = np.flatnonzero(~has_outline(cells))
    detector = recipe.bundle.detector
    if len(boxed) and detector is not None:
        view = prepare(image, recipe).view
        if not recipe.settings.detection.cell_diameter_px and given_doubt(cells, view, strict=True):
            sides = cells.boxes[:, 2:] - cells.boxes[:, :2]
            view = view.at_diameter(float(np.median(np.sqrt(sides.prod(axis=1)))))
        boxes = cells.boxes[boxed]
        outlines, areas = list(cells.outlines), cells.area_px.copy()
        where = recipe.device, recipe.settings.detection.tile_px
        found = maps_by_tile(detector, view, boxes, *where)
        if not is_large(view.shape):
            found = iter([(np.arange(len(boxes)), roi_maps(detector, view, boxes, *where))])
        for rows, maps in found:
            masks = _soft_masks(detector, torch.from_numpy(maps).to(recipe.device)).cpu().numpy()
            for row, mask in zip(rows, masks, strict=True):
                outlines[boxed[row]] = mask_outline(mask, boxes[row])
                areas[boxed[row]] = polygon_area(outlines[boxed[row]])
        cells = replace(cells, outlines=tuple(outlines), area_px=areas)
    pairs, _ = shared_area(cells.boxes, cells.outlines, cells.area_px)
    overlaps = np.zeros(len(cells), dtype=bool)
    overlaps[pairs.ravel()] = True
    return replace(cells, overlaps=overlaps)


@torch.inference_mode()
def _soft_masks(detector: MaskRCNN, maps: Tensor) -> Tensor:
    """Return the probabilities ``(n_cells, 28, 28)`` that the mask head gives the pixels of each box."""
    heads = detector.roi_heads
    logits = heads.mask_predictor(heads.mask_head(maps.float()))  # (n_cells, 2, 28, 28)
    return torch.sigmoid(logits[:, 1])


def _say_without(names: list[str], cells: dict[str, Cells]) -> Generator[Event, None, None]:
    """Warn of images that got no cell."""
    without = [name for name in names if name not in cells]
    if without and cells:
        yield Warned(
            f"{len(without)} of {len(names)} images got no cell and are left out, '{without[0]}' first."
        )
