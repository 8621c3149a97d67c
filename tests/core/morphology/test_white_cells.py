"""Named measurements of nucleus and cytoplasm."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.base.settings import NormalisationSettings
from napari_amil.core.base.types import Cells, Floats, Image
from napari_amil.core.cohort.cell_image_synth import draw_white_cell
from napari_amil.core.images.nucleus import normalise_by_nucleus
from napari_amil.core.morphology.names import MEASUREMENTS, names_by_number
from napari_amil.core.morphology.white_cells import WHITE_NAMES, measure_white

WHOLE = Cells(np.array([[0, 0, 96, 96]]))


def _measured(image: Image) -> dict[str, float]:
    normalised = normalise_by_nucleus(image, NormalisationSettings())
    return dict(zip(WHITE_NAMES, measure_white(normalised, WHOLE, 60.0)[0], strict=True))


def _disc(nucleus_px: float, cell_px: float, cut: bool = False) -> Image:
    y, x = np.mgrid[:96, :96] - 47.5
    density = np.zeros((96, 96, 3))
    density[np.hypot(y, x) < cell_px] = (0.34, 0.30, 0.16)
    inside = np.hypot(y, x) < nucleus_px
    if cut:
        inside &= ~((np.abs(x) < 3) & (y < 0))
    density[inside] = (1.05, 1.45, 0.75)
    return np.asarray(np.rint(230 * np.exp(-density)), np.uint8)


def test_a_drawn_disc_has_the_measurements_it_was_drawn_with() -> None:
    found = _measured(_disc(20, 30))
    assert found["nucleus_diameter"] == pytest.approx(40 / 60, rel=0.05)
    assert found["cell_diameter"] == pytest.approx(1.0, rel=0.07)
    assert found["nucleus_share"] == pytest.approx((20 / 30) ** 2, rel=0.15)
    assert found["nucleus_form_factor"] == pytest.approx(1.0, abs=0.1)
    assert found["nucleus_solidity"] > 0.96
    assert (found["nucleus_lobes"], found["chromatin_clumps"]) == (1.0, 0.0)
    assert found["cytoplasm_blueness"] == pytest.approx(np.log(0.34 / 0.16), abs=0.15)
    assert _measured(_disc(20, 30, cut=True))["nucleus_solidity"] < 0.95


def test_malignant_nuclei_are_cleft_and_their_chromatin_coarser() -> None:
    rng = np.random.default_rng(1)
    kinds: list[Floats] = []
    for abnormal in (False, True):
        images = [draw_white_cell(rng, 96, abnormal=abnormal) for _ in range(12)]
        kinds.append(np.array([list(_measured(image).values()) for image in images]))
    normal, abnormal_cells = (np.nanmedian(values, axis=0) for values in kinds)
    higher = dict(zip(WHITE_NAMES, abnormal_cells > normal, strict=True))
    assert higher["chromatin_variation"]
    assert higher["nucleus_diameter"]
    assert higher["nucleus_share"]
    assert not higher["nucleus_solidity"]


def test_without_a_nucleus_nothing_is_measured() -> None:
    assert np.isnan(measure_white(np.ones((96, 96, 3), np.float32), WHOLE, 60.0)).all()


def test_the_number_of_measurements_tells_the_kind_of_cell() -> None:
    assert {names_by_number(len(names)) for names in MEASUREMENTS.values()} == set(MEASUREMENTS.values())
    with pytest.raises(ValueError, match="There are 3 measurements"):
        names_by_number(3)
