"""Statistics of a field beside its cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.instances.extract import Recipe, prepare
from napari_amil.core.instances.field_note import FieldNote, field_note, summary_of_fields
from napari_amil.core.model.bundle import load_bundle


def test_the_summary_is_median_and_deviation_over_fields() -> None:
    found = summary_of_fields([FieldNote(0.3, 38.0), FieldNote(0.5, 40.0), FieldNote(0.4, 42.0)])
    assert found["density"] == pytest.approx([0.4, 0.0816], abs=1e-4)
    assert found["diameter_px"] == pytest.approx([40.0, 1.633], abs=1e-3)


def test_a_black_surround_is_no_stain() -> None:
    bundle = load_bundle()
    recipe = Recipe.from_bundle(bundle, None, torch.device("cpu"))
    smear = synthetic_smear(3)
    height, width = smear.image.shape[:2]
    y, x = np.mgrid[:height, :width] - np.array([height, width])[:, None, None] / 2
    disc = np.where(np.hypot(y, x)[..., None] < 0.45 * height, smear.image, 0).astype(np.uint8)
    known = field_note(prepare(smear.image, recipe), smear.cells)
    cut = field_note(prepare(disc, recipe), smear.cells)
    assert cut[:2] == (pytest.approx(known.density, abs=0.05), known.diameter_px)
    assert np.isnan(known[2:]).all()  # of given cells, which need not be all


def test_the_note_of_a_field_says_how_sharp_and_sure_its_cells_are() -> None:
    recipe = Recipe.from_bundle(load_bundle(), None, torch.device("cpu"))
    smear = synthetic_smear(3, SynthSettings(n_platelets=0))
    found = replace(smear.cells, detection_score=np.full(len(smear.cells), 0.9, np.float32))
    seen = prepare(smear.image, recipe)
    note = field_note(seen, found)
    assert note.confidence == pytest.approx(0.9)
    assert note.score == pytest.approx(0.9)
    half = field_note(seen, found.take(slice(0, len(found) // 2)))
    assert half.focus == pytest.approx(note.focus, rel=0.2)
    blurred = ndimage.gaussian_filter(smear.image, (2.5, 2.5, 0))
    assert field_note(prepare(blurred, recipe), found).focus < 0.4 * note.focus
    far = replace(seen, view=seen.view.at_diameter(90.0))
    assert field_note(far, found).confidence == pytest.approx(0.45)
