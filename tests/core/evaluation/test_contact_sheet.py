"""A contact sheet shows every crop unchanged, in reading order, with room for its caption."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_amil.core.evaluation.contact_sheet import contact_sheet, cut

FIELD = np.random.default_rng(0).integers(0, 200, (60, 80, 3), dtype=np.uint8)


def crops(n: int, side: int = 64) -> list[NDArray[np.uint8]]:
    """Return crops of one colour each, none of it grey."""
    return [np.full((side, side, 3), (40 * i % 200, 255 - 20 * i, 90), np.uint8) for i in range(n)]


def place(sheet: NDArray[np.uint8], crop: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return the box of the pixels that have the colour of a crop."""
    ys, xs = np.nonzero((sheet == crop[0, 0]).all(axis=2))
    return ys.min(), xs.min(), ys.max() + 1, xs.max() + 1


def test_a_cut_is_centred_on_the_box() -> None:
    np.testing.assert_array_equal(cut(FIELD, np.array([20, 30, 40, 50]), 20), FIELD[20:40, 30:50])
    np.testing.assert_array_equal(cut(FIELD, np.array([28, 38, 32, 42.0]), 20), FIELD[20:40, 30:50])


def test_outside_the_field_a_cut_is_white() -> None:
    crop = cut(FIELD, np.array([-10, 70, 10, 90]), 20)
    np.testing.assert_array_equal(crop[10:, :10], FIELD[:10, 70:])
    assert (crop[:10] == 255).all()
    assert (crop[:, 10:] == 255).all()


QUARTERS = st.integers(-800, 800).map(lambda quarters: quarters / 4)  # exact, so that both sides round alike


@given(QUARTERS, QUARTERS, st.integers(1, 150))
def test_a_cut_has_its_size_and_every_pixel_its_place(y: float, x: float, side: int) -> None:
    crop = cut(FIELD, np.array([y - 5, x - 5, y + 5, x + 5]), side)
    assert crop.shape == (side, side, 3)
    padded = np.pad(FIELD, ((400, 400), (400, 400), (0, 0)), constant_values=255)
    top, left = round(y - side / 2) + 400, round(x - side / 2) + 400
    np.testing.assert_array_equal(crop, padded[top : top + side, left : left + side])


def test_crops_stand_row_by_row_and_unchanged() -> None:
    shown = crops(5)
    sheet = contact_sheet(shown, [f"d {i}.5" for i in range(5)], 3, "Most anomalous")
    boxes = [place(sheet, crop) for crop in shown]
    assert all((y1 - y0, x1 - x0) == (64, 64) for y0, x0, y1, x1 in boxes)
    tops, lefts = [b[0] for b in boxes], [b[1] for b in boxes]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4]
    assert lefts[0] == lefts[3] < lefts[1] == lefts[4] < lefts[2]
    assert sheet.dtype == np.uint8
    assert (sheet[0] == 255).all()
    assert (sheet[:, -1] == 255).all()


def test_captions_are_black_on_white_below_their_crop() -> None:
    (crop,) = crops(1)
    bare, captioned = contact_sheet([crop], [""], 1), contact_sheet([crop], ["d = 7.3\nq = 0.01"], 1)
    y1 = place(captioned, crop)[2]
    assert (bare[place(bare, crop)[2] :] == 255).all()
    below = captioned[y1:]
    assert below.shape[0] > 2 * 13
    assert below.min() < 60
    lines = (below.min(axis=(1, 2)) < 128).astype(int)
    assert (np.diff(lines) == 1).sum() >= 2


def test_a_long_caption_widens_the_cell_but_not_without_end() -> None:
    (crop,) = crops(1)
    short, long = (contact_sheet([crop], ["w" * n], 1) for n in (3, 200))
    assert short.shape[1] == 64 + 2 * 8
    assert 64 + 2 * 8 < long.shape[1] <= 1.5 * 64 + 3 * 8


def test_a_title_has_room() -> None:
    (crop,) = crops(1)
    sheet = contact_sheet([crop], [""], 1, "The twelve most anomalous cells of every image")
    y0, x0, _, _ = place(sheet, crop)
    head = sheet[:y0]
    assert head.min() < 60
    assert (head[:, -8:] == 255).all()
    assert x0 == 8


def test_without_crops_only_the_title_is_left() -> None:
    assert contact_sheet([], [], 4, "No cell").min() < 60
    assert (contact_sheet([], [], 4) == 255).all()


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="1 captions for 2 crops"):
        contact_sheet(crops(2), ["a"], 2)
    with pytest.raises(ValueError, match="same size"):
        contact_sheet([*crops(1), *crops(1, 32)], ["a", "b"], 2)
