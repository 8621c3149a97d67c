"""Training crops keep pixels and targets together, whatever is done to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.detection import augment
from napari_amil.core.detection.augment import AnnotatedField, training_crop
from napari_amil.core.detection.network import RED, WHITE

SETTINGS = DetectorTrainingSettings(crop_px=128)


def squares(shape: tuple[int, int] = (200, 240)) -> AnnotatedField:
    """Return a field of dark squares of 20 px, every 40 px, each its own cell."""
    labels = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(np.ndindex(shape[0] // 40, shape[1] // 40), start=1):
        labels[y * 40 + 10 : y * 40 + 30, x * 40 + 10 : x * 40 + 30] = number
    pixels = np.where(labels[..., None] > 0, np.uint8(100), np.uint8(255)) * np.ones(3, np.uint8)
    return AnnotatedField(pixels.astype(np.uint8), labels, tuple(range(1, labels.max() + 1)))


@pytest.mark.parametrize("seed", range(4))
def test_a_target_has_tight_boxes_around_its_masks(annotated: AnnotatedField, seed: int) -> None:
    image, target = training_crop([annotated], SETTINGS, np.random.default_rng(seed))
    assert image.shape == (3, 128, 128)
    assert image.dtype == torch.float32
    assert 0 <= float(image.min()) < float(image.max()) <= 1
    assert len(target["boxes"]) == len(target["masks"]) == len(target["labels"]) > 0
    assert set(target["labels"].tolist()) == {1}
    for (x0, y0, x1, y1), mask in zip(target["boxes"].int().tolist(), target["masks"].bool(), strict=True):
        inside = mask[y0:y1, x0:x1]
        assert int(inside.sum()) == int(mask.sum())
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@pytest.mark.parametrize("seed", range(3))
def test_masks_lie_on_dark_pixels(seed: int) -> None:
    image, target = training_crop([squares()], SETTINGS, np.random.default_rng(seed))
    covered = target["masks"].bool().any(dim=0)
    assert float(image[:, covered].mean()) < float(image[:, ~covered].mean()) - 0.2


def test_the_same_seed_gives_the_same_crop(annotated: AnnotatedField) -> None:
    first, second, other = (
        training_crop([annotated], SETTINGS, np.random.default_rng(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_field_smaller_than_the_crop_is_padded_with_background() -> None:
    pixels, labels = augment._window(squares((80, 80)), (128, 96), np.random.default_rng(0))
    assert pixels.shape == (128, 96, 3)
    assert labels.shape == (1, 128, 96)
    assert (pixels[80:] == 1).all()
    assert (pixels[:, 80:] == 1).all()
    np.testing.assert_array_equal(np.unique(labels), [0, 1, 2, 3, 4])


def test_a_cell_that_is_mostly_outside_the_window_is_no_target() -> None:
    labels = np.zeros((64, 100), np.int32)
    labels[20:40, 60:80] = 1  # columns from 36 on are never in a window of 64 that starts at 0
    field = AnnotatedField(np.full((64, 100, 3), 255, np.uint8), labels, ())
    for seed in range(20):
        _, cut = augment._window(field, (64, 64), np.random.default_rng(seed))
        assert cut.any() == (np.count_nonzero(cut) >= 0.3 * 400)


@pytest.mark.parametrize("shape", [(160, 160), (160, 80)])
def test_resizing_moves_pixels_and_labels_alike(shape: tuple[int, int]) -> None:
    field = squares(shape)
    pixels, labels = augment._resize(field.pixels.astype(np.float32) / 255, field.planes, 80)
    assert pixels.shape == (80, 80, 3)
    assert set(np.unique(labels)) == set(range(shape[0] * shape[1] // 1600 + 1))
    assert abs(int((pixels[..., 0] < 0.7).sum()) - int((labels > 0).sum())) < 0.1 * (labels > 0).sum()


def test_pasted_cells_overlap_and_darken(monkeypatch: pytest.MonkeyPatch) -> None:
    field = squares()
    pixels = field.pixels.astype(np.float32) / 255
    masks = [field.labels == number for number in (8, 9, 10)]
    pasted, more = augment._paste_cells(pixels, masks, field, 1.0, np.random.default_rng(3))
    assert len(masks) < len(more) <= 2 * len(masks)
    assert (pasted <= pixels + 1e-6).all()
    for mask in more[len(masks) :]:
        np.testing.assert_allclose(pasted[mask].max(), 100 / 255, rtol=1e-5)
    shared = np.sum(more, axis=0) == 2
    assert shared.any()
    assert (100 / 255) ** 2 <= pasted[shared].min() < 100 / 255
    assert not np.shares_memory(pasted, pixels)


@pytest.mark.parametrize(("added", "expected"), [(0.0, 0.4), (1.0, 0.2), (0.5, 0.4 * 0.5**0.5)])
def test_where_cells_overlap_a_share_of_the_smaller_density_is_added(added: float, expected: float) -> None:
    pixels = np.full((30, 30, 3), 0.5, np.float32)
    stamp = np.ones((10, 10), bool)
    mask = augment._stamp(pixels, stamp, np.full((10, 10, 3), 0.4, np.float32), (15, 15), added)
    assert mask is not None
    np.testing.assert_allclose(pixels[mask], expected, rtol=1e-6)
    np.testing.assert_array_equal(pixels[~mask], 0.5)


def test_half_of_the_crops_are_stretched(annotated: AnnotatedField, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = augment._window

    def watched(field: AnnotatedField, size: tuple[int, int], rng: np.random.Generator) -> Any:
        sizes.append(size)
        return original(field, size, rng)

    monkeypatch.setattr(augment, "_window", watched)
    for seed in range(60):
        training_crop([annotated], SETTINGS, np.random.default_rng(seed))
    ratios = np.array([height / width for height, width in sizes])
    assert 20 <= (ratios != 1).sum() <= 40
    assert 0.55 < ratios.min() < 0.8 < 1.2 < ratios.max() < 1.75


def test_without_isolated_cells_nothing_is_pasted() -> None:
    field = squares()
    bare = AnnotatedField(field.pixels, field.labels, ())
    masks = [field.labels == 1]
    pixels = np.ones((200, 240, 3), np.float32)
    same, kept = augment._paste_cells(pixels, masks, bare, 1.0, np.random.default_rng(0))
    assert same is pixels
    assert kept is masks


@pytest.mark.parametrize("seed", range(8))
def test_turning_keeps_each_mask_on_its_pixels(seed: int) -> None:
    plane = np.zeros((12, 12), bool)
    plane[1:4, 2:9] = True
    pixels = np.where(plane[..., None], 0.25, 1.0).astype(np.float32).repeat(3, axis=2)
    turned, (mask,) = augment._turn(pixels, [plane], np.random.default_rng(seed))
    np.testing.assert_array_equal(turned[..., 0] == 0.25, mask)


def test_a_change_of_stain_keeps_white_bright_and_cells_darker(annotated: AnnotatedField) -> None:
    pixels: NDArray[np.float32] = annotated.pixels.astype(np.float32) / 255
    for seed in range(5):
        changed = augment._restain(pixels, np.random.default_rng(seed))
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        assert changed[annotated.labels == 0].mean() > changed[annotated.labels > 0].mean() + 0.1


def test_slivers_are_no_target() -> None:
    sliver, whole = np.zeros((2, 64, 64), bool)
    sliver[10:40, 10:15] = True
    whole[10:16, 20:40] = True
    field = replace(squares(), boxed=frozenset({8}), white=frozenset({8}))
    target = augment._target([sliver, whole, whole], [7, 8, augment._PASTED], field, 64)
    assert target["boxes"].tolist() == [[20, 10, 40, 16]] * 2
    assert target["drawn"].tolist() == [False, True]
    assert target["labels"].tolist() == [WHITE, RED]
    empty = augment._target([], [], field, 64)
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, 64, 64)
