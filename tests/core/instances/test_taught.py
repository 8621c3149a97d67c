"""A model knows the images and patients that taught it, by content, and is not tested on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.instances.sources import Source, cohort_source
from napari_amil.core.instances.taught import CARD, overlap, refusing_taught, taught_entry


def source(folder: Path, **patients: tuple[str, int]) -> Source:
    """Return a cohort of one image per patient: its name, and the seed of its pixels."""
    folder.mkdir(exist_ok=True)
    for name, seed in patients.values():
        pixels = np.random.default_rng(seed).integers(0, 255, (64, 80, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / name)
    bags = tuple(Bag(p, p, (name,), {}, "control") for p, (name, _) in patients.items())
    return cohort_source(Cohort(str(folder), bags, ("control",)))


@pytest.fixture
def card(tmp_path: Path) -> dict[str, object]:
    entry = taught_entry(source(tmp_path / "mine", p1=("a.png", 1), p2=("b.png", 2)))
    assert [len(entry["images"]), len(entry["patients"])] == [2, 2]
    assert "p1" not in str(entry)
    return {"scorer": {CARD: entry}}


def test_an_image_under_another_name_and_patient_is_known(tmp_path: Path, card: dict[str, object]) -> None:
    other = source(tmp_path / "other", p1=("x.tif", 2), p9=("y.png", 3))
    (problem,) = overlap(other, card)  # 'p1' of another cohort is somebody else
    assert problem.kind == "leaking-images"
    assert problem.message.startswith("1 of 2 images taught this model ('x.tif')")
    with pytest.raises(CohortError, match="--allow leaking-images"):
        drain(refusing_taught(other, card))
    said: list[Event] = []
    drain(refusing_taught(other, card, ("leaking-images",)), said.append)
    assert [type(event) for event in said] == [Warned]


def test_images_of_other_folds_do_not_count(tmp_path: Path, card: dict[str, object]) -> None:
    both = source(tmp_path / "other", p1=("x.tif", 2), p9=("y.png", 3))
    tested = replace(both, cohort=both.cohort.where(lambda bag: bag.bag == "p9"))
    assert len(tested.files) == 2
    assert overlap(tested, card) == []


def test_a_patient_of_the_same_cohort_with_a_new_image_is_known(
    tmp_path: Path, card: dict[str, object]
) -> None:
    (problem,) = overlap(source(tmp_path / "mine", p2=("c.png", 5)), card)
    assert problem.kind == "leaking-patients"
    assert "'p2'" in problem.message


def test_a_card_that_does_not_say_refuses_nothing(tmp_path: Path) -> None:
    assert overlap(source(tmp_path / "any", p=("a.png", 1)), {"scorer": {}}) == []
    assert overlap(source(tmp_path / "any", p=("a.png", 1)), {}) == []
