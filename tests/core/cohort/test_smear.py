"""A made-up smear is the same for a seed, and its truth fits its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon2mask

from napari_amil.core.base.errors import SettingsError
from napari_amil.core.cohort.cell_shapes import CELL_TYPES, make_shape
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear

SMALL = SynthSettings(height=240, width=320, n_cells=30)


def test_the_seed_decides() -> None:
    first, again, other = (synthetic_smear(seed, SMALL) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.cells.boxes, again.cells.boxes)
    assert (first.image != other.image).any()


def test_the_default_smear_shows_everything() -> None:
    smear = synthetic_smear(0)
    assert smear.image.shape == (480, 640, 3)
    assert smear.image.dtype == np.uint8
    assert len(smear.cells) == len(smear.cell_type) == len(smear.faint) == 95
    assert set(smear.cell_type) == set(CELL_TYPES)
    assert 0.1 < smear.cells.overlaps.mean() < 0.5
    assert 0 < smear.faint.sum() < 20
    assert 0.05 < smear.cells.touches_border.mean() < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_the_truth_fits_the_pixels(seed: int) -> None:
    plain = SMALL.model_copy(update={"faint": 0.0, "n_platelets": 0, "overlapping": 0.3})
    smear = synthetic_smear(seed, plain)
    covered = np.zeros((240, 320), dtype=int)
    for outline, area, box in zip(smear.cells.outlines, smear.cells.area_px, smear.cells.boxes, strict=True):
        mask = polygon2mask(covered.shape, outline - 0.5)
        assert mask.sum() == pytest.approx(area, rel=0.05, abs=8)
        np.testing.assert_allclose(box, [*outline.min(axis=0), *outline.max(axis=0)])
        covered += mask
    green = smear.image[..., 1].astype(float)
    dark = green < (np.median(green[covered == 0]) + np.median(green[covered == 1])) / 2
    assert (dark & (covered > 0)).sum() / (dark | (covered > 0)).sum() > 0.9
    assert np.median(green[covered > 1]) < np.median(green[covered == 1])
    boxes = smear.cells.boxes
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [240, 320]).all()


def test_flags_say_what_was_drawn() -> None:
    apart = synthetic_smear(1, SynthSettings(n_cells=40, abnormal={}, overlapping=0, faint=0))
    assert not apart.cells.overlaps.any()
    assert set(apart.cell_type) == {"normal"}
    at_border = (apart.cells.boxes[:, :2] == 0).any(1) | (apart.cells.boxes[:, 2:] == [480, 640]).any(1)
    np.testing.assert_array_equal(apart.cells.touches_border, at_border)
    laid = synthetic_smear(1, SynthSettings(n_cells=40, abnormal={}, overlapping=0.8))
    assert laid.cells.overlaps.mean() > 0.6


def test_types_differ_as_their_names_say() -> None:
    rng = np.random.default_rng(0)
    radius = {name: np.mean([make_shape(name, rng).radius.mean() for _ in range(20)]) for name in CELL_TYPES}
    assert (
        radius["microcyte"]
        < 0.75
        < radius["spherocyte"]
        < 0.9
        < radius["normal"]
        == pytest.approx(1, abs=0.05)
    )
    elongation = [np.ptp(make_shape("elliptocyte", rng).radius) for _ in range(20)]
    assert min(elongation) > 0.5
    assert make_shape("spherocyte", rng).pallor == 0
    assert make_shape("target", rng).core > 0.5


def test_an_empty_field_has_no_cells() -> None:
    assert len(synthetic_smear(0, SMALL.model_copy(update={"n_cells": 0})).cells) == 0


def test_impossible_mixtures_are_refused() -> None:
    with pytest.raises(SettingsError, match="no cell type 'blast'"):
        synthetic_smear(0, SynthSettings(abnormal={"blast": 0.1}))
    with pytest.raises(SettingsError, match=r"add up to 1\.20"):
        synthetic_smear(0, SynthSettings(abnormal={"target": 0.6, "burr": 0.6}))
