"""First annotations find the cells that are sure, split what can be split and say where they doubt."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.draw import disk

from napari_amil.core.cohort.synth import SyntheticSmear
from napari_amil.core.detection.classical import annotate, segment_classically

RED_CELL = (0.85, 0.5, 0.62)
DIAMETER = 40.0


def field(*centres: tuple[float, float], radius: float = 20, shape: tuple[int, int] = (160, 200)) -> NDArray:
    """Return a normalised field with round cells of one colour."""
    pixels = np.ones((*shape, 3), np.float32)
    for centre in centres:
        pixels[disk(centre, radius, shape=shape)] = RED_CELL
    return pixels


def areas(labels: NDArray[np.int32]) -> list[int]:
    return np.bincount(labels.ravel())[1:].tolist()


def test_a_cell_that_stands_alone_is_one_isolated_cell() -> None:
    annotation = annotate(field((80, 100)), DIAMETER)
    assert annotation.isolated == (1,)
    assert areas(annotation.labels) == [pytest.approx(np.pi * 20**2, rel=0.1)]
    assert not annotation.doubtful.any()
    assert annotation.labels[80, 100] == 1


def test_a_cell_that_the_border_cuts_is_a_cell_but_not_isolated() -> None:
    annotation = annotate(field((80, 3)), DIAMETER)
    assert annotation.labels.max() == 1
    assert annotation.isolated == ()


def test_two_cells_that_touch_are_split_at_the_neck() -> None:
    annotation = annotate(field((80, 60), (80, 96)), DIAMETER)
    assert annotation.isolated == ()
    left, right = annotation.labels[80, 60], annotation.labels[80, 96]
    assert len({left, right, 0}) == 3
    columns = [np.nonzero(annotation.labels == number)[1] for number in (left, right)]
    assert columns[0].max() < 82
    assert columns[1].min() > 74


def test_a_clump_that_cannot_be_split_is_doubtful_and_carries_no_cell() -> None:
    pixels = field()
    pixels[40:120, 40:160] = RED_CELL
    pixels[60:100, 60:140] = 1
    annotation = annotate(pixels, DIAMETER)
    assert annotation.doubtful.sum() > 1000
    assert not (annotation.doubtful & (annotation.labels > 0)).any()


def test_the_pallor_belongs_to_the_cell_and_specks_do_not() -> None:
    pixels = field((80, 100))
    pixels[disk((80, 100), 7)] = 1
    pixels[disk((20, 20), 4)] = RED_CELL
    labels = annotate(pixels, DIAMETER).labels
    assert labels.max() == 1
    assert labels[80, 100] == 1
    assert labels[20, 20] == 0


def test_a_nucleus_is_no_red_cell() -> None:
    pixels = field((80, 50), (80, 150))
    pixels[disk((80, 150), 14)] = (0.35, 0.2, 0.55)
    labels = annotate(pixels, DIAMETER).labels
    assert labels[80, 50] == 1
    assert labels[80, 150] == 0


def test_an_empty_field_has_no_cell() -> None:
    annotation = annotate(field(), DIAMETER)
    assert annotation.labels.max() == 0
    assert annotation.isolated == ()
    assert segment_classically(field(), DIAMETER).max() == 0


def test_the_cells_of_a_made_up_smear_are_found(
    smear: SyntheticSmear, normalised: NDArray[np.float32]
) -> None:
    annotation = annotate(normalised, DIAMETER)
    middle = ((smear.cells.boxes[:, :2] + smear.cells.boxes[:, 2:]) / 2).astype(int)
    whole = ~smear.cells.touches_border
    found = annotation.labels[middle[whole, 0], middle[whole, 1]]
    assert (found > 0).all()
    assert len(set(found)) == len(found)
    true_area = smear.cells.area_px[whole]
    np.testing.assert_allclose(np.bincount(annotation.labels.ravel())[found], true_area, rtol=0.2)


def test_the_classical_baseline_splits_and_keeps_what_is_unsure() -> None:
    labels = segment_classically(field((80, 60), (80, 94), (40, 150)), DIAMETER)
    assert len(np.unique(labels)) == 4
    assert areas(labels)[-1] > 1000
