"""Images of one folder inform each other about the size of the cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from skimage.transform import rescale

from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.types import Image
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.images.read import find_images
from napari_amil.core.instances.extract import Recipe, prepare, recipe_for
from napari_amil.core.instances.find_cells import detect_prepared
from napari_amil.core.instances.processes import in_processes
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.scoring.detect import Found, detect_images

_FIELD = SynthSettings(height=200, width=240, n_cells=22, n_platelets=0)


@pytest.fixture(scope="module")
def starter() -> Recipe:
    return Recipe.from_bundle(load_bundle(), None, torch.device("cpu"))


def large_cells(seed: int) -> Image:
    """Return a smear with cells of 100 px."""
    return np.asarray(rescale(synthetic_smear(seed, _FIELD).image, 2.5, channel_axis=2) * 255, dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three fields, and part of a fourth that shows one or two whole cells: by itself it tells nothing."""
    place = tmp_path_factory.mktemp("patient")
    for number, seed in enumerate((7, 8, 9)):
        PIL.Image.fromarray(large_cells(seed)).save(place / f"{number}.png")
    PIL.Image.fromarray(large_cells(8)[150:380, 80:310]).save(place / "few.png")
    return place


def found_in(path: Path, recipe: Recipe) -> tuple[float, list[str]]:
    """Return the diameter that an image is taken to have, and what is said of it."""
    events: list[Event] = []
    here = drain(recipe_for(replace(recipe, diameters={}), path, path.name))
    pixels = np.asarray(PIL.Image.open(path))
    seen, _ = drain(detect_prepared(prepare(pixels, here), here), events.append)
    return seen.view.diameter_px, [event.message for event in events if isinstance(event, Warned)]


def test_images_beside_it_tell_the_size_that_few_cells_do_not(starter: Recipe, folder: Path) -> None:
    pixels = np.asarray(PIL.Image.open(folder / "few.png"))
    events: list[Event] = []
    alone, _ = drain(detect_prepared(prepare(pixels, starter), starter), events.append)
    assert alone.view.diameter_px == 40
    assert any("is uncertain: 40 px is assumed" in str(event) for event in events)
    diameter, (note,) = found_in(folder / "few.png", starter)
    assert 90 < diameter < 110
    assert note.startswith(f"The cells are taken for {diameter:.0f} px in diameter, as in the images beside ")
    assert "not 40 px as it shows by itself (only " in note


def test_another_magnification_in_the_same_folder_keeps_its_own(
    starter: Recipe, folder: Path, tmp_path: Path
) -> None:
    for path in folder.iterdir():
        PIL.Image.open(path).save(tmp_path / path.name)
    small = synthetic_smear(4, SynthSettings(height=110, width=110, n_cells=5, n_platelets=0)).image
    PIL.Image.fromarray(small).save(tmp_path / "small.png")
    diameter, notes = found_in(tmp_path / "small.png", starter)
    assert 30 < diameter < 54
    assert not any("beside" in note for note in notes)


def cells_of(found: Found) -> dict[str, list[list[float]]]:
    return {name: cells.boxes.tolist() for name, (_, cells) in found.items()}


def test_order_and_processes_change_nothing(starter: Recipe, folder: Path) -> None:
    def run(recipe: Recipe, images: Sequence[Path]) -> dict[str, list[list[float]]]:
        return cells_of(drain(detect_images(find_images(images), replace(recipe, diameters={}))))

    paths = sorted(folder.iterdir())
    expected = run(starter, paths)
    assert run(in_processes(starter, 2), paths[::-1]) == expected
    assert run(starter, paths[-1:]) == {"few.png": expected["few.png"]}  # the last one by name


def test_a_diameter_that_is_given_asks_nobody(starter: Recipe, folder: Path) -> None:
    settings = starter.settings.changed({"detection": {"cell_diameter_px": 95.0}})
    recipe = replace(starter, settings=settings, place=(folder / "few.png", 0), diameters={})
    pixels = np.asarray(PIL.Image.open(folder / "few.png"))
    seen, _ = drain(detect_prepared(prepare(pixels, recipe), recipe))
    assert (seen.view.diameter_px, recipe.diameters) == (95.0, {})


def test_a_doubtful_image_has_no_voice(starter: Recipe, folder: Path) -> None:
    recipe = drain(recipe_for(replace(starter, diameters={}), folder / "few.png", "few.png"))
    drain(detect_prepared(prepare(np.asarray(PIL.Image.open(folder / "few.png")), recipe), recipe))
    known = {path.name: diameter for (path, _), diameter in recipe.diameters.items()}
    assert math.isnan(known.pop("few.png"))
    assert sorted(known) == ["1.png", "2.png"]  # the nearest, which agree
    assert all(90 < diameter < 110 for diameter in known.values())
