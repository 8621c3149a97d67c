"""Nuclei, platelets and ink are told from red cells by their colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.base.types import box_outline
from napari_amil.core.cohort.synth import synthetic_smear
from napari_amil.core.detection.network import build_detector
from napari_amil.core.detection.predict import find_candidates
from napari_amil.core.images.foreign import NORMAL_COLOUR, foreign_mask, foreign_share, typical_colour
from napari_amil.core.images.normalise import normalise

_RED, _PURPLE, _INK = (0.80, 0.63, 0.74), (0.50, 0.35, 0.62), (0.20, 0.22, 0.25)


@pytest.mark.parametrize(
    ("colour", "foreign"), [(_RED, False), (_PURPLE, True), (_INK, True), ((1, 1, 1), False)]
)
def test_colours(colour: tuple[float, float, float], foreign: bool) -> None:
    field = np.broadcast_to(np.array(colour, np.float32), (20, 20, 3))
    assert foreign_mask(field).all() == foreign


def test_share_of_an_outline() -> None:
    field = np.empty((40, 80, 3), np.float32)
    field[:, :40], field[:, 40:] = _RED, _PURPLE
    boxes = np.array([[5, 5, 25, 25], [5, 50, 25, 70], [5, 30, 25, 50]], np.float32)
    shares = foreign_share(field, tuple(box_outline(box) for box in boxes))
    np.testing.assert_allclose(shares, [0, 1, 0.5], atol=0.06)


def test_red_cells_of_a_smear_are_not_foreign_and_1_keeps_everything() -> None:
    smear = synthetic_smear(1)
    normalised = normalise(smear.image)
    assert np.mean(foreign_share(normalised, smear.cells.outlines) > 0.3) < 0.02
    torch.manual_seed(0)
    model = build_detector().eval()
    counts = []
    for limit in (0.0, 1.0):
        settings = DetectionSettings(candidate_score=0.0, max_cells=40, max_foreign=limit)
        counts.append(len(drain(find_candidates(model, normalised, settings, torch.device("cpu"))).cells))
    assert counts[0] < counts[1] == 40


def test_where_all_cells_are_bluish_only_bluer_ones_are_foreign() -> None:
    bluish, nucleus = (0.70, 0.66, 0.80), (0.42, 0.36, 0.72)
    field = np.ones((120, 200, 3), np.float32)
    boxes = np.array([[10, 10 + 45 * i, 50, 45 + 45 * i] for i in range(4)], np.float32)
    for number, (y0, x0, y1, x1) in enumerate(boxes.astype(int)):
        field[y0:y1, x0:x1] = nucleus if number == 3 else bluish
    outlines = tuple(box_outline(box) for box in boxes)
    colour = typical_colour(field)
    assert foreign_mask(field)[30, [30, 160]].tolist() == [True, True]
    assert foreign_mask(field, colour)[30, [30, 160]].tolist() == [False, True]
    assert colour.redness == pytest.approx(-0.10, abs=0.01)
    shares = foreign_share(field, outlines, colour)
    np.testing.assert_allclose(shares, [0, 0, 0, 1], atol=0.15)
    nothing = typical_colour(np.ones((40, 40, 3), np.float32))
    assert np.isnan(nothing.redness)
    assert np.isnan(nothing.density).all()
    np.testing.assert_array_equal(foreign_share(field, outlines, nothing), foreign_share(field, outlines))


def one_object(density: tuple[float, float, float], side: int) -> NDArray[np.float32]:
    """Return a field with one square object of an optical density in red, green and blue."""
    field = np.ones((60, 60, 3), np.float32)
    field[10 : 10 + side, 10 : 10 + side] = np.exp(-np.array(density))
    return field


@pytest.mark.parametrize(
    ("density", "side", "foreign"),
    [
        ((0.17, 1.00, 0.38), 40, True),  # granules of a white cell
        ((0.30, 0.38, 0.48), 30, True),  # the pointer of the microscope
        ((0.17, 0.38, 0.15), 18, True),  # a platelet in a stain as blue
        ((0.31, 0.43, 0.23), 42, False),  # a large polychromatic red cell
        ((0.19, 0.44, 0.28), 22, False),  # a fragment
        ((0.40, 0.80, 0.55), 34, False),  # a spherocyte
    ],
)
def test_what_is_no_red_cell(density: tuple[float, float, float], side: int, foreign: bool) -> None:
    field = one_object(density, side)
    box = np.array([10, 10, 10 + side, 10 + side], np.float32)
    (share,) = foreign_share(field, (box_outline(box),), NORMAL_COLOUR)
    assert (share > DetectionSettings().max_foreign) == foreign


@pytest.mark.parametrize("colour", [(0.1, 0.1, 0.1), (0.1, 0.75, 0.95)])
def test_a_scale_bar_over_a_cell_and_a_dark_body_in_it(colour: tuple[float, float, float]) -> None:
    field = one_object((0.215, 0.45, 0.29), 36)
    outlines = (box_outline(np.array([10, 10, 46, 46], np.float32)),)
    field[14:20, 14:20] = 0.1
    assert foreign_share(field, outlines, NORMAL_COLOUR)[0] < 0.1
    field[30:32, 8:50] = colour
    assert foreign_share(field, outlines, NORMAL_COLOUR)[0] == 1
