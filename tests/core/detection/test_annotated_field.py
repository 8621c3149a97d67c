"""Annotations become planes of cells at the network's scale; what is unknown teaches nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.synth import SyntheticSmear
from napari_amil.core.detection.annotated_field import annotated_field
from napari_amil.core.detection.augment import AnnotatedField, training_crop
from napari_amil.core.detection.network import box_and_mask_losses, build_detector, detection_losses

SETTINGS = DetectorTrainingSettings(crop_px=128, paste_overlaps=0)
BOXES = np.array([[20, 20, 60, 60], [40, 40, 80, 80], [100, 120, 140, 160]], np.float32)
DIAMONDS = tuple(
    np.array([[y0, (x0 + x1) / 2], [(y0 + y1) / 2, x1], [y1, (x0 + x1) / 2], [(y0 + y1) / 2, x0]], np.float32)
    for y0, x0, y1, x1 in BOXES
)


@pytest.fixture
def blank() -> NDArray[np.float32]:
    return np.ones((160, 200, 3), np.float32)


def test_overlapping_cells_keep_whole_outlines(blank: NDArray[np.float32]) -> None:
    tall = tuple(outline + np.array([0, -8], np.float32) * row for row, outline in enumerate(DIAMONDS))
    boxes = np.array([[*o.min(axis=0), *o.max(axis=0)] for o in tall], np.float32)
    field = annotated_field(blank, Cells(boxes, tall), complete=True, diameter_px=40)
    assert field.planes.shape == (2, 160, 200)
    sizes = [int((field.planes == number).sum()) for number in (1, 2, 3)]
    assert sizes == pytest.approx([800, 800, 800], rel=0.05)
    assert field.isolated == (3,)
    assert field.boxed == frozenset()


def test_a_box_takes_the_outline_on_which_both_agree_and_else_teaches_none(
    smear: SyntheticSmear, normalised: NDArray[np.float32]
) -> None:
    boxes = Cells(np.concatenate([smear.cells.boxes, np.array([[2, 2, 30, 90]], np.float32)]))
    field = annotated_field(normalised, boxes, complete=True, diameter_px=40)
    nonsense = len(boxes)
    assert nonsense in field.boxed
    assert len(field.boxed) < 0.3 * len(boxes)
    known = [number for number in range(1, nonsense) if number not in field.boxed]
    filled = [(field.planes == n).sum() / boxes.area_px[n - 1] for n in known]
    assert 0.7 < np.median(filled) < 0.85  # a disc fills pi/4 of its box
    assert int((field.planes == nonsense).sum()) == 28 * 88
    assert set(field.isolated) <= set(known)


def test_what_is_stained_in_a_box_is_the_outline_of_touching_and_of_white_cells() -> None:
    y, x = np.ogrid[:160, :200]
    pixels = np.ones((160, 200, 3), np.float32)
    discs = [(50, 50, 20), (50, 85, 20), (110, 120, 30)]  # two that overlap, and one far larger
    for cy, cx, radius in discs:
        pixels[np.hypot(y + 0.5 - cy, x + 0.5 - cx) < radius] = (0.6, 0.4, 0.6)
    boxes = np.array([[cy - r, cx - r, cy + r, cx + r] for cy, cx, r in discs], np.float32)
    field = annotated_field(pixels, Cells(boxes), complete=True, diameter_px=40, white=[2])
    assert field.boxed == frozenset()
    assert field.white == {3}
    assert field.isolated == ()  # a white cell is no red one to be pasted elsewhere
    areas = [int((field.planes == number).sum()) for number in (1, 2, 3)]
    assert areas == pytest.approx([np.pi * 400, np.pi * 400, np.pi * 900], rel=0.12)


def test_annotated_cells_tell_the_magnification_where_it_is_not_given(blank: NDArray[np.float32]) -> None:
    far = annotated_field(blank, Cells(2 * BOXES[:1]), complete=True)
    assert far.pixels.shape == (80, 100, 3)
    cut = Cells(2 * BOXES[:1], touches_border=np.array([True]))
    assert annotated_field(blank, cut, complete=True).pixels.shape == (160, 200, 3)
    small_and_white = Cells(np.concatenate([BOXES[:1], 2 * BOXES[1:2]]))
    assert annotated_field(blank, small_and_white, complete=True, white=[1]).pixels.shape == (160, 200, 3)


def test_cells_are_scaled_with_their_field(blank: NDArray[np.float32]) -> None:
    field = annotated_field(blank, Cells(BOXES[2:], DIAMONDS[2:]), complete=True, diameter_px=80)
    assert field.pixels.shape == (80, 100, 3)
    rows, columns = np.nonzero(field.planes[0])
    assert (rows.mean(), columns.mean()) == pytest.approx((59.5, 69.5), abs=1)


def test_what_is_not_annotated_is_background_or_unknown(
    smear: SyntheticSmear, normalised: NDArray[np.float32]
) -> None:
    some = smear.cells.take(slice(0, 6))
    whole, partial = (
        annotated_field(normalised, some, complete=complete, diameter_px=40) for complete in (True, False)
    )
    inside = whole.planes[0] > 0
    np.testing.assert_array_equal(whole.pixels[inside], partial.pixels[inside])
    others = [box.astype(int) for box in smear.cells.boxes[10:14]]
    dark = [[field.pixels[y0:y1, x0:x1, 1].min() for y0, x0, y1, x1 in others] for field in (whole, partial)]
    assert max(dark[0]) < 160
    assert min(dark[1]) > 200


def test_crops_say_which_outlines_are_known(smear: SyntheticSmear, normalised: NDArray[np.float32]) -> None:
    boxes = Cells(smear.cells.boxes)
    field = annotated_field(normalised, boxes, complete=True, diameter_px=40)
    boxed = AnnotatedField(field.pixels, field.labels, (), field.above, frozenset(range(1, len(boxes) + 1)))
    for seed in range(3):
        _, known = training_crop([field], SETTINGS, np.random.default_rng(seed))
        _, unknown = training_crop([boxed], SETTINGS, np.random.default_rng(seed))
        assert torch.equal(known["boxes"], unknown["boxes"])
        assert known["drawn"].any()
        assert not unknown["drawn"].any()


def test_only_known_outlines_teach_the_mask_head(annotated: AnnotatedField) -> None:
    torch.manual_seed(0)
    model = build_detector().train()
    image, target = training_crop([annotated], SETTINGS, np.random.default_rng(0))

    def losses(drawn: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        target["drawn"][:] = drawn
        return box_and_mask_losses(model, image[None], [target])

    torch.manual_seed(1)
    usual = detection_losses(model, image[None], [target])
    with_outlines, without = losses(True), losses(False)
    for name, value in usual.items():
        torch.testing.assert_close(with_outlines[name], value)
        if name != "loss_mask":
            torch.testing.assert_close(without[name], value)
    assert float(with_outlines["loss_mask"].detach()) > 0
    assert float(without["loss_mask"].detach()) == 0
    without["loss_mask"].backward()
    empty = {name: value[:0] for name, value in target.items()}
    nothing = box_and_mask_losses(model, torch.ones(1, 3, 128, 128), [empty])
    assert all(torch.isfinite(value) for value in nothing.values())
