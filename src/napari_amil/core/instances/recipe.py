"""Bundle, settings and device with which a field becomes cells and instances."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.images.fields import pixel_um_of
from napari_amil.core.instances.executor import SERIAL, Executor
from napari_amil.core.model.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Recipe:
    """Bundle, user's settings and device with which a field becomes cells and instances.

    Normalisation, crops, the model and what makes a bag are always those of the bundle: its tensors
    were trained with them. Detection and selection are the user's. The executor runs the work on many
    fields. ``place`` is file and page of the image at hand, None where it is in no file; ``diameters``
    remembers the diameter that images of its folder show by themselves, NaN where that is doubtful.
    """

    bundle: Bundle
    settings: RunSettings
    device: torch.device
    executor: Executor = SERIAL
    place: tuple[Path, int] | None = None
    diameters: dict[tuple[Path, int], float] = field(default_factory=dict)

    @classmethod
    def from_bundle(cls, bundle: Bundle, settings: RunSettings | None, device: torch.device) -> Recipe:
        """Return the recipe, with the bundle's own settings where tensors depend on them."""
        trained = bundle.settings
        fixed = {name: getattr(trained, name) for name in ("normalisation", "crop", "model", "bag_level")}
        if bundle.scorer is not None:
            bundle.scorer.model.to(device)
            bundle.scorer.anomaly.to(device)
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


def recipe_for(recipe: Recipe, path: Path, image: str, page: int = 0) -> Generator[Event, None, Recipe]:
    """Return the recipe for the image in a file, whose pixel size counts if the settings need it."""
    recipe = replace(recipe, place=(path, page))
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
