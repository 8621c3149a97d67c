"""One field: from pixels to cells, and from cells to what the encoder sees."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from napari_amil.core.bundle import Bundle
from napari_amil.core.detection.predict import find_candidates, find_in_view, roi_maps
from napari_amil.core.detection.select import Candidates
from napari_amil.core.detection.view import FieldView, view_field, view_large_field
from napari_amil.core.events import Event, Step, Warned
from napari_amil.core.images.crops import extract_crops
from napari_amil.core.images.fields import ArrayField, Field, is_large, pixel_um_of
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX
from napari_amil.core.images.normalise import normalise
from napari_amil.core.mil.encoder import scale_roi_maps
from napari_amil.core.mil.instances import with_measurements
from napari_amil.core.morphology.measures import measure
from napari_amil.core.settings import RunSettings
from napari_amil.core.types import Cells, Image

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Recipe:
    """What turns a field into cells and instances: a bundle, the user's settings and a device.

    Normalisation, crops, the model and what makes a bag are always those of the bundle: its tensors
    were trained with them. Detection and selection are the user's.
    """

    bundle: Bundle
    settings: RunSettings
    device: torch.device

    @classmethod
    def of(cls, bundle: Bundle, settings: RunSettings | None, device: torch.device) -> Recipe:
        """Return the recipe, with the bundle's own settings where tensors depend on them."""
        trained = bundle.settings
        fixed = {name: getattr(trained, name) for name in ("normalisation", "crop", "model", "bag_level")}
        if bundle.scorer is not None:
            bundle.scorer.model.to(device)
        return cls.for_training(bundle, (settings or trained).model_copy(update=fixed), device)

    @classmethod
    def for_training(cls, bundle: Bundle, settings: RunSettings, device: torch.device) -> Recipe:
        """Return the recipe of a training: the detector is the bundle's, every setting the user's."""
        if bundle.detector is not None:
            bundle.detector.to(device, memory_format=torch.channels_last)
        return cls(bundle, settings, device)

    def at_pixel_size(self, pixel_um: float | None) -> Recipe:
        """Return the recipe for images whose pixels have this side in micrometres, None if not known.

        A cell diameter in micrometres becomes one in pixels; one that is set in pixels stays.
        """
        wanted = self.settings.detection
        if wanted.cell_diameter_um is None or wanted.cell_diameter_px or not pixel_um:
            return self
        known = wanted.model_copy(update={"cell_diameter_px": wanted.cell_diameter_um / pixel_um})
        return replace(self, settings=self.settings.model_copy(update={"detection": known}))


def recipe_for(recipe: Recipe, path: Path, image: str) -> Generator[Event, None, Recipe]:
    """Return the recipe for the image in a file, whose pixel size counts if the settings need it."""
    wanted = recipe.settings.detection
    if wanted.cell_diameter_um is None or wanted.cell_diameter_px:
        return recipe
    pixel_um = pixel_um_of(path)
    if pixel_um is None:
        yield Warned(
            f"{image}: the file does not say how large a pixel is, so that the cell diameter is estimated; "
            "set 'cell_diameter_px' to give it."
        )
    return recipe.at_pixel_size(pixel_um)


def detect_field(image: Image, recipe: Recipe) -> Generator[Event, None, Candidates]:
    """Find every candidate cell of one field ``(height, width, 3)``: the expensive step."""
    return (yield from detect_in(ArrayField(image), recipe))


def detect_in(field: Field, recipe: Recipe) -> Generator[Event, None, Candidates]:
    """Find every candidate cell of a field of any size; a large one is read tile by tile."""
    detector, settings = recipe.bundle.need_detector(), recipe.settings
    yield Step("normalise", 0, 1, "Evening out background and stain")
    if is_large(field.shape):
        view = view_large_field(field, settings.detection, settings.normalisation)
        return (yield from find_in_view(detector, view, settings.detection, recipe.device))
    height, width = field.shape
    normalised = normalise(field.window(slice(0, height), slice(0, width)), settings.normalisation)
    return (yield from find_candidates(detector, normalised, settings.detection, recipe.device))


def without_steps(
    work: Generator[Event, None, Result], image: str, but_keep: bool = False
) -> Generator[Event, None, Result]:
    """Run the work on one image among many; pass on warnings, with its name, and no steps.

    ``but_keep`` passes on the steps too, for an image that takes long.
    """
    while True:
        try:
            event = next(work)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        if isinstance(event, Warned):
            yield Warned(f"{image}: {event.message}")
        elif but_keep:
            yield event


def field_instances(image: Image, cells: Cells, recipe: Recipe) -> NDArray[Any]:
    """Return what the encoder sees of each cell.

    Returns
    -------
    ``(n_cells, 3, size, size)`` uint8 crops, or ``(n_cells, channels, 14, 14)`` float16 RoI maps,
    as the model of the recipe wants them; with measurements where it embeds these too
    (`napari_amil.core.mil.instances.with_measurements`).
    """
    return _instances(image, cells, recipe, measured=recipe.settings.model.measurement_columns > 0)


def measured_instances(image: Image, cells: Cells, recipe: Recipe) -> NDArray[Any]:
    """Return what the encoder sees of each cell, and its measurements, whether or not it embeds these."""
    return _instances(image, cells, recipe, measured=True)


def field_measurements(image: Image, cells: Cells, recipe: Recipe) -> NDArray[np.float64]:
    """Return the named measurements ``(n_cells, n_measurements)`` of the cells of one field."""
    normalised = normalise(image, recipe.settings.normalisation)
    view = view_field(normalised, recipe.settings.detection.cell_diameter_px)
    return measure(normalised, cells, view.diameter_px)


def _instances(image: Image, cells: Cells, recipe: Recipe, *, measured: bool) -> NDArray[Any]:
    settings = recipe.settings
    normalised = normalise(image, settings.normalisation)
    view = view_field(normalised, settings.detection.cell_diameter_px)
    if settings.model.instance == "roi":
        pixels = _roi_maps(view, cells, recipe)
    else:
        crops = extract_crops(normalised, cells.boxes, REFERENCE_DIAMETER_PX / view.scale, settings.crop)
        pixels = np.asarray((crops * 255).round(), dtype=np.uint8)
    return with_measurements(pixels, measure(normalised, cells, view.diameter_px)) if measured else pixels


def _roi_maps(view: FieldView, cells: Cells, recipe: Recipe) -> NDArray[Any]:
    """Return RoI maps, scaled to -1..1 over the field if the model wants that."""
    tile_px = recipe.settings.detection.tile_px
    maps = torch.from_numpy(
        roi_maps(recipe.bundle.need_detector(), view, cells.boxes, recipe.device, tile_px)
    )
    if recipe.settings.model.roi_scaling:
        maps = scale_roi_maps(maps, torch.zeros(len(maps), dtype=torch.int64))
    return np.asarray(maps.to(torch.float16).numpy())
