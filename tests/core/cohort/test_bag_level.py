"""Samples fall apart into images and join into patients without losing or doubling a cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.cohort.bag_level import at_level


def cells(*corners: int) -> Cells:
    return Cells(np.array([[c, c, c + 10, c + 12] for c in corners], np.float32))


def sample(bag: str, label: str = "control", **images: Cells) -> Bag:
    types = {name: np.array([f"type {int(y)}" for y in found.boxes[:, 0]]) for name, found in images.items()}
    return Bag(bag, "anna", tuple(images), images, label, fold=2, cell_type=types)


COHORT = Cohort(
    ".",
    (sample("one", a=cells(0, 20), b=cells(5)), sample("two", b=cells(40, 5), c=cells(7))),
    ("control", "ill"),
)


def test_samples_stay_as_they_are() -> None:
    assert at_level(COHORT, "sample") is COHORT


def test_every_image_is_a_bag_of_its_patient() -> None:
    bags = at_level(COHORT, "image").bags
    assert [bag.bag for bag in bags] == ["one/a", "one/b", "two/b", "two/c"]
    assert [bag.n_cells for bag in bags] == [2, 1, 2, 1]
    assert {(bag.patient, bag.label, bag.fold) for bag in bags} == {("anna", "control", 2)}
    assert bags[2].cell_type["b"].tolist() == ["type 40", "type 5"]
    loose = Bag("x.png", "x.png", ("x.png",))
    assert at_level(Cohort(".", (loose,), ("control",)), "image").bags[0].bag == "x.png"


def test_a_patient_holds_every_cell_once() -> None:
    (bag,) = at_level(COHORT, "patient").bags
    assert (bag.bag, bag.patient, bag.images) == ("anna", "anna", ("a", "b", "c"))
    assert bag.control_reference
    teaching = replace(COHORT.bags[1], control_reference=False)
    (joined,) = at_level(replace(COHORT, bags=(COHORT.bags[0], teaching)), "patient").bags
    assert not joined.control_reference
    assert bag.n_cells == 5
    assert bag.cells["b"].boxes[:, 0].tolist() == [5, 40]
    assert bag.cells["b"].cell_id.tolist() == [1, 2]
    assert bag.cell_type["b"].tolist() == ["type 5", "type 40"]
    assert bag.cells["b"].outlines[1].min() == 40


def test_undetected_samples_join_by_their_images() -> None:
    bags = tuple(Bag(name, "anna", (f"{name}.png",), label="ill") for name in ("one", "two"))
    (bag,) = at_level(Cohort(".", bags, ("control", "ill")), "patient").bags
    assert bag.images == ("one.png", "two.png")
    assert bag.cells == {}


def test_a_patient_with_two_labels_is_refused() -> None:
    bags = (sample("one"), sample("two", label="ill"))
    with pytest.raises(CohortError, match="'anna' have the labels control, ill"):
        at_level(Cohort(".", bags, ("control", "ill")), "patient")
