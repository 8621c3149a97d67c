"""Made-up smears to learn from: every cell is known, and cut where a round field ends."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import NormalisationSettings
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.detection import made_fields as module
from napari_amil.core.detection.made_fields import made_fields


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def smaller(seed: int, settings: SynthSettings) -> object:
        few = {"height": 128, "width": 160, "n_cells": 8, "diameter_px": 30.0}
        return synthetic_smear(seed, settings.model_copy(update=few))

    monkeypatch.setattr(module, "synthetic_smear", smaller)


def test_made_fields_know_every_outline_and_depend_on_the_seed_alone() -> None:
    fields = drain(made_fields(3, NormalisationSettings(), 4))
    again = drain(made_fields(2, NormalisationSettings(), 4))
    other = drain(made_fields(1, NormalisationSettings(), 5))
    assert len(fields) == 3
    for field in fields:
        assert field.boxed == field.white == frozenset()
        assert 3 <= field.planes.max() <= 8
    np.testing.assert_array_equal(fields[1].pixels, again[1].pixels)
    assert fields[0].pixels.shape != other[0].pixels.shape or (fields[0].pixels != other[0].pixels).any()


def test_a_round_field_is_black_outside_and_cuts_its_cells() -> None:
    smear = synthetic_smear(3, SynthSettings(height=200, width=240, n_cells=40))
    image, cells = module._round(smear.image, smear.cells, np.random.default_rng(0))
    assert image[0, 0].tolist() == [6, 6, 6]
    assert image[100, 120].tolist() == smear.image[100, 120].tolist()
    assert 3 < len(cells) < len(smear.cells)
    assert set(cells.cell_id.tolist()) < set(smear.cells.cell_id.tolist())
    before = smear.cells.take(np.isin(smear.cells.cell_id, cells.cell_id))
    share = cells.area_px / before.area_px
    assert share.min() >= 0.29
    assert cells.touches_border[share < 0.9].all()
    whole = share > 0.999
    np.testing.assert_array_equal(cells.boxes[whole], before.boxes[whole])
    black = image.max(axis=2) <= 6
    for outline in cells.outlines:
        middle = outline.mean(axis=0).astype(int)
        assert not black[tuple(middle)]


def test_light_falls_off_towards_the_corners() -> None:
    image = np.full((60, 80, 3), 200, np.uint8)
    dimmed = module._vignetted(image, np.random.default_rng(0))
    assert dimmed[30, 40, 0] >= 198
    assert 80 <= dimmed[0, 0, 0] <= 160
