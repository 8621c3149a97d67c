"""Find the cells of a field at the scale that the detector and the images of its folder agree with."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from napari_amil.core.base.errors import AmilError, BundleError
from napari_amil.core.base.events import Event, Step, Warned, translated
from napari_amil.core.detection.network import knows_white
from napari_amil.core.detection.network_input import network_input
from napari_amil.core.detection.predict import find_in_input
from napari_amil.core.detection.scale import Agreement, agreed_diameter, agreement, doubt, same_scale
from napari_amil.core.detection.select import Candidates
from napari_amil.core.images.fields import is_large, open_field
from napari_amil.core.images.neighbours import neighbours
from napari_amil.core.instances.field_blocks import PreparedField
from napari_amil.core.instances.field_scale import agreed_scale, warn_of_given_diameter
from napari_amil.core.instances.recipe import Recipe

_LOOKED_AT = 6  # images of a folder that are asked at most; two that agree are enough


def detect_prepared(
    seen: PreparedField, recipe: Recipe
) -> Generator[Event, None, tuple[PreparedField, Candidates]]:
    """Find every candidate cell of a field that has been normalised; return it at the right scale too.

    Where what is found speaks against the estimated diameter, the detector looks for another one, and
    detects again. Where it stays doubtful, or few cells are whole, the images beside it in its folder
    are asked. A diameter that is given stays. Where white cells are wanted, red ones tell the scale.
    """
    if recipe.settings.detection.cells == "white":
        return (yield from _detect_white(seen, recipe))
    if recipe.settings.detection.cell_diameter_px:
        given = yield from _look(seen, recipe)
        yield from warn_of_given_diameter(given.candidates.select(recipe.settings.selection), seen.view)
        return seen, given.candidates
    look = yield from _own_look(seen, recipe)
    if recipe.place is not None:
        recipe.diameters[recipe.place] = look.diameter_px
        if look.doubt or not look.found.tells:
            look = yield from _as_in_folder(look, recipe.place, recipe)
    if look.note:
        yield Warned(look.note)
    return look.seen, look.candidates


@dataclass(frozen=True, eq=False)
class _Look:
    """The candidates of a field at one scale, the reason why it may be wrong, and a note for the user."""

    seen: PreparedField
    candidates: Candidates
    found: Agreement
    doubt: str
    note: str = ""

    @property
    def diameter_px(self) -> float:
        """Median diameter of the whole cells, NaN where the scale is doubtful."""
        return math.nan if self.doubt else self.found.found_px


def _look(seen: PreparedField, recipe: Recipe, note: str = "") -> Generator[Event, None, _Look]:
    """Return the cells found in a field at its scale, and the doubt about it."""
    settings = recipe.settings
    detector = recipe.bundle.need_detector()
    candidates = yield from find_in_input(detector, seen.view, settings.detection, recipe.device)
    cells = candidates.select(settings.selection)
    reason = doubt(candidates, cells, seen.view, settings.selection)
    return _Look(seen, candidates, agreement(cells, seen.view), reason, note)


def _own_look(seen: PreparedField, recipe: Recipe) -> Generator[Event, None, _Look]:
    """Return the cells found in a field at the scale that the detector agrees with."""
    look = yield from _look(seen, recipe)
    if not look.doubt:
        return look
    detector = recipe.bundle.need_detector()
    rescaled, note = yield from agreed_scale(detector, seen, look.doubt, recipe.device)
    if rescaled is seen:
        return replace(look, note=note)
    return (yield from _look(rescaled, recipe, note))


def _as_in_folder(own: _Look, place: tuple[Path, int], recipe: Recipe) -> Generator[Event, None, _Look]:
    """Return the cells found at the diameter of the images beside a field, if no worse than ``own``."""
    diameter = yield from _folder_diameter(place, recipe)
    if diameter is None:
        return own
    if same_scale(diameter, own.seen.view):
        return replace(own, note="")
    view = own.seen.view
    other = yield from _look(replace(own.seen, view=view.at_diameter(diameter)), recipe)
    if not own.found.yields_to(other.found):
        return own
    reason = own.doubt or f"only {own.found.n_whole} whole cells are found"
    note = (
        f"The cells are taken for {diameter:.0f} px in diameter, as in the images beside this one, not "
        f"{view.diameter_px:.0f} px as it shows by itself ({reason}). Give the diameter if that is wrong."
    )
    return replace(other, note=note)


def _folder_diameter(place: tuple[Path, int], recipe: Recipe) -> Generator[Event, None, float | None]:
    """Return the diameter on which the images beside a field agree; each is looked at by itself.

    So it depends on these images alone, not on the order or the process in which fields are worked on.
    """
    diameters: list[float] = []
    for number, beside in enumerate(neighbours(*place, _LOOKED_AT)):
        yield Step("scale", number, _LOOKED_AT, "Looking for the size of the cells in the images beside it")
        if beside not in recipe.diameters:
            work = _diameter_in(beside, recipe)
            recipe.diameters[beside] = yield from translated(work, lambda _: None)
        diameters.append(recipe.diameters[beside])
        if (agreed := agreed_diameter(diameters)) is not None:
            return agreed
    return None


def _diameter_in(place: tuple[Path, int], recipe: Recipe) -> Generator[Event, None, float]:
    """Return the diameter that the image in a file shows by itself, NaN where it is doubtful or large."""
    settings = recipe.settings
    try:
        with open_field(*place) as field:
            if is_large(field.shape):
                return math.nan
            view = network_input(field, settings.detection, settings.normalisation)
            look = yield from _own_look(PreparedField(field, view), recipe)
    except AmilError:
        return math.nan
    return look.diameter_px


def _detect_white(
    seen: PreparedField, recipe: Recipe
) -> Generator[Event, None, tuple[PreparedField, Candidates]]:
    """Find the white cells of a field at the scale of its red ones."""
    detector, settings = recipe.bundle.need_detector(), recipe.settings
    if not knows_white(detector):
        raise BundleError(
            "The detector of this model knows no white cells; choose a model whose detector does, or teach "
            "it with 'napari-amil train-detector --white'."
        )
    red = replace(recipe, settings=settings.changed({"detection": {"cells": "red"}}))
    seen, _ = yield from detect_prepared(seen, red)
    found = yield from find_in_input(detector, seen.view, settings.detection, recipe.device)
    return seen, found
