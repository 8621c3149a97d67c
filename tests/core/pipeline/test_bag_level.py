"""Bags are gathered as the settings want them, and a bundle keeps to what it was trained with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.gather import Gathered, gather
from napari_amil.core.instances.sources import Source, cohort_source
from napari_amil.core.model.bundle import Bundle

CPU = torch.device("cpu")


def box(*corners: int) -> Cells:
    return Cells(np.array([[c, c, c + 20, c + 20] for c in corners], np.float32))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Two samples of one patient that share a cell of an image."""
    for name in ("a.png", "b.png"):
        PIL.Image.new("RGB", (80, 80), "white").save(tmp_path / name)
    bags = (
        Bag("one", "anna", ("a.png", "b.png"), {"a.png": box(0, 30), "b.png": box(10)}, "control"),
        Bag("two", "anna", ("b.png",), {"b.png": box(10, 50)}, "control"),
    )
    return cohort_source(Cohort(str(tmp_path), bags, ("control",)))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("sample", {"one": [0, 30, 10], "two": [10, 50]}),
        ("image", {"one/a.png": [0, 30], "one/b.png": [10], "two": [10, 50]}),
        ("patient", {"anna": [0, 30, 10, 50]}),
    ],
)
def test_every_bag_has_its_cells(level: str, expected: dict[str, list[int]], source: Source) -> None:
    settings = RunSettings.parse({"bag_level": level})
    recipe = Recipe(Bundle(settings), settings, CPU)
    gathered: Gathered = drain(gather(source, recipe, lambda _image, cells, _recipe: cells.boxes[:, 0]))
    found = {
        bag.bag: gathered.values[rows].tolist()
        for bag, rows in zip(gathered.cohort, gathered.rows, strict=True)
    }
    assert found == expected
    assert len(gathered.values) == 4  # the shared cell is looked at once


def test_a_bundle_is_used_with_the_bags_it_was_trained_on(small_bundle: Bundle) -> None:
    trained = replace(small_bundle, settings=small_bundle.settings.changed({"bag_level": "patient"}))
    assert Recipe.from_bundle(trained, RunSettings(bag_level="image"), CPU).settings.bag_level == "patient"
