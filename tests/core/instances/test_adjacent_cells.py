"""Listed boxes are measured as the cells that the detector sees in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_amil.core.base.device import pick_device
from napari_amil.core.base.events import drain
from napari_amil.core.base.types import Cells, has_outline
from napari_amil.core.cohort.synth import SyntheticSmear, SynthSettings, synthetic_smear
from napari_amil.core.images import fields
from napari_amil.core.instances.adjacent_cells import with_adjacent_cells
from napari_amil.core.instances.extract import Recipe, detect_in, measured_instances, prepare
from napari_amil.core.mil.instances import measurements_of
from napari_amil.core.model.bundle import load_bundle


@pytest.fixture(scope="module")
def starter() -> Recipe:
    return Recipe.from_bundle(load_bundle(None), None, pick_device("cpu"))


@pytest.fixture(scope="module")
def smear() -> SyntheticSmear:
    return synthetic_smear(3, SynthSettings(height=256, width=320, n_cells=30, overlapping=0.6))


@pytest.fixture(scope="module")
def found(smear: SyntheticSmear, starter: Recipe) -> Cells:
    return drain(detect_in(fields.as_field(smear.image), starter)).select(starter.settings.selection)


def test_some_boxes_of_a_table_have_the_measurements_of_the_cells_that_were_found(
    smear: SyntheticSmear, starter: Recipe, found: Cells
) -> None:
    rows = np.flatnonzero(found.overlaps)
    assert len(rows) > 1
    listed = Cells(found.boxes[rows[:1]])
    whole, boxed = (
        measurements_of(measured_instances(smear.image, cells, starter)) for cells in (found, listed)
    )
    np.testing.assert_allclose(boxed[0], whole[rows[0]], rtol=1e-5)


def test_a_box_without_a_cell_stays_a_box_and_all_cells_lie_around(
    smear: SyntheticSmear, starter: Recipe, found: Cells
) -> None:
    listed = Cells(np.array([[2, 2, 9, 9], found.boxes[0]], np.float32))
    drawn = with_adjacent_cells(prepare(smear.image, starter), listed, starter.bundle, starter.settings)
    assert has_outline(drawn).tolist() == [False, True]
    np.testing.assert_array_equal(drawn.boxes, listed.boxes)
    np.testing.assert_array_equal(drawn.outlines[1], found.outlines[0])
    assert len(drawn.others) == len(found) - 1


def test_cells_with_outlines_and_large_fields_are_not_searched(
    smear: SyntheticSmear, starter: Recipe, found: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = prepare(smear.image, starter)
    assert with_adjacent_cells(seen, found, starter.bundle, starter.settings) is found
    boxes = Cells(found.boxes)
    without = replace(starter.bundle, detector=None)
    assert with_adjacent_cells(seen, boxes, without, starter.settings) is boxes
    monkeypatch.setattr(fields, "WHOLE_PX", 1000)
    assert with_adjacent_cells(seen, boxes, starter.bundle, starter.settings) is boxes


def test_outlines_of_another_program_are_measured_in_the_box_of_the_cell_found_there(
    smear: SyntheticSmear, starter: Recipe, found: Cells
) -> None:
    boxes = np.array([[*outline.min(axis=0), *outline.max(axis=0)] for outline in found.outlines], np.float32)
    assert np.abs(boxes - found.boxes).max() > 0.05  # an outline does not tell the box to the pixel
    given = Cells(boxes, found.outlines, touches_border=found.touches_border)
    whole, drawn = (
        measurements_of(measured_instances(smear.image, cells, starter)) for cells in (found, given)
    )
    np.testing.assert_allclose(drawn, whole, rtol=1e-4)
    seen = prepare(smear.image, starter)
    refitted = with_adjacent_cells(seen, given, starter.bundle, starter.settings)
    np.testing.assert_array_equal(refitted.boxes, found.boxes)
    assert all(map(np.array_equal, refitted.outlines, given.outlines))
    np.testing.assert_array_equal(given.boxes, boxes)  # what the user sees


def test_an_outline_of_another_size_keeps_its_box(
    smear: SyntheticSmear, starter: Recipe, found: Cells
) -> None:
    seen, middle = prepare(smear.image, starter), (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
    smaller = (middle + 0.8 * (found.outlines[0] - middle)).astype(np.float32)
    box = np.array([[*smaller.min(axis=0), *smaller.max(axis=0)]], np.float32)
    given = Cells(box, (smaller,))
    refitted = with_adjacent_cells(seen, given, starter.bundle, starter.settings)
    np.testing.assert_array_equal(refitted.boxes, box)
