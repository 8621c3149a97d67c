"""The detector finds the size of cells, made ones and those of microscopes that it never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.transform import rescale
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import SelectionSettings
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.detection.network_input import input_from_array
from napari_amil.core.detection.scale import (
    Agreement,
    DiameterEstimate,
    agreed_diameter,
    doubt,
    find_diameter,
    given_doubt,
    same_scale,
    seen_diameter,
)
from napari_amil.core.detection.select import Candidates
from napari_amil.core.images.normalise import normalise
from napari_amil.core.images.read import read_image
from napari_amil.core.model.bundle import load_bundle

CPU = torch.device("cpu")
SELECTION = SelectionSettings()
BLANK = input_from_array(np.ones((400, 400, 3), np.float32), 40.0)


@pytest.fixture(scope="module")
def trained() -> MaskRCNN:
    return load_bundle().need_detector().to(CPU, memory_format=torch.channels_last)


def estimate(model: MaskRCNN, image: Image) -> DiameterEstimate:
    found = drain(find_diameter(model, input_from_array(normalise(image), None), CPU))
    assert isinstance(found, DiameterEstimate)
    return found


@pytest.mark.parametrize("diameter", [12, 60, 250])
def test_the_size_of_made_cells_is_found(trained: MaskRCNN, diameter: int) -> None:
    side = {12: 160, 60: 360, 250: 1100}[diameter]
    factor = diameter / 40
    settings = SynthSettings(height=int(side / factor), width=int(side / factor), n_cells=4 * 40)
    image = rescale(synthetic_smear(4, settings).image, factor, channel_axis=2)
    found = estimate(trained, (image * 255).astype(np.uint8))
    assert 0.8 < found.diameter_px / diameter < 1.25
    assert found.confidence > 0.75


def test_a_field_without_cells_has_no_size(trained: MaskRCNN) -> None:
    assert drain(find_diameter(trained, BLANK, CPU)) is None


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["pbc/074.jpg", "pbc/154.jpg", "w575/226.jpg", "w575/170.jpg"])
def test_the_size_on_other_microscopes_is_found(trained: MaskRCNN, chula: Path, name: str) -> None:
    folder = chula.parent / "other_microscopes"
    boxes = pd.read_csv(folder / "boxes.csv").query("image == @name and kind == 'RBC'")
    sides = np.sqrt((boxes["y1"] - boxes["y0"]) * (boxes["x1"] - boxes["x0"]))
    whole = (boxes["y0"] > 2) & (boxes["x0"] > 2)
    found = estimate(trained, read_image(folder / name))
    assert 0.75 < found.diameter_px / sides[whole].median() < 1.33


def row(n: int, diameter: float, score: float = 0.95) -> Cells:
    """Return ``n`` round cells in a row."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.sin(angles), np.cos(angles)], 1) * diameter / 2
    centres = np.array([[100 + 2 * diameter * i, 100] for i in range(n)]).reshape(-1, 2)
    return Cells(
        np.concatenate([centres - diameter / 2, centres + diameter / 2], 1).astype(np.float32),
        tuple((circle + centre).astype(np.float32) for centre in centres),
        np.full(n, score, np.float32),
        np.full(n, np.pi / 4 * diameter**2, np.float32),
    )


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (row(6, 42), ""),
        (row(6, 90), "the cells found measure 90 px"),
        (row(6, 41, 0.6), "the mean detection score is only 0.60"),
        (row(2, 40), "only 2 whole cells are found"),
    ],
)
def test_what_is_found_confirms_or_doubts_the_scale(cells: Cells, reason: str) -> None:
    candidates = Candidates.from_cells(cells, 40.0)
    assert doubt(candidates, candidates.select(SELECTION), BLANK, SELECTION) == reason


def test_thousands_of_candidates_for_a_few_cells_are_a_doubt() -> None:
    everything = Candidates.from_cells(row(600, 40, 0.1), 40.0)
    assert "600 candidates give only 5 cells" in doubt(everything, row(5, 40), BLANK, SELECTION)


def test_cells_given_at_another_scale_are_a_doubt() -> None:
    assert given_doubt(row(6, 55), BLANK) == ""
    assert given_doubt(row(6, 55), BLANK, strict=True) == "the cells measure 55 px"
    assert given_doubt(row(6, 20), BLANK) == "the cells measure 20 px"
    assert given_doubt(row(2, 20), BLANK) == ""


def test_a_diameter_near_the_assumed_one_is_the_same_scale() -> None:
    view = BLANK.at_diameter(80.0)
    assert (view.scale, view.diameter_px, seen_diameter(view)) == (0.5, 80.0, 80.0)
    assert view.size == (200, 200)
    assert same_scale(100, view)
    assert not same_scale(50, view)


@pytest.mark.parametrize(
    ("diameters", "agreed"),
    [
        ([], None),
        ([80.0], None),
        ([80.0, np.nan, 84.0], 82.0),
        ([80.0, 160.0], None),
        ([80.0, 160.0, 84.0], 84.0),
        ([40.0, 80.0, 160.0], None),
    ],
)
def test_fields_agree_on_a_diameter_of_one_magnification(
    diameters: list[float], agreed: float | None
) -> None:
    assert agreed_diameter(diameters) == agreed


def test_a_field_yields_to_a_diameter_at_which_as_good_cells_are_found() -> None:
    own = Agreement(120.0, 100.0, 0.93, 3)
    assert not own.tells
    assert own.yields_to(Agreement(78.0, 88.0, 0.97, 4))
    assert own.yields_to(Agreement(78.0, 88.0, 0.84, 4))
    assert not own.yields_to(Agreement(78.0, 88.0, 0.82, 4))  # scored worse
    assert not own.yields_to(Agreement(78.0, 110.0, 0.97, 4))  # of another size
    assert not own.yields_to(Agreement(78.0, 80.0, 0.97, 2))  # too few remain
    few = Agreement(185.0, 182.0, 0.96, 2)
    assert not few.yields_to(Agreement(120.0, float("nan"), 0.97, 0))
    assert few.yields_to(Agreement(150.0, 180.0, 0.97, 2))
    nothing = Agreement(40.0, float("nan"), float("nan"), 0)
    assert nothing.yields_to(Agreement(78.0, 80.0, 0.9, 1))
    assert not nothing.yields_to(nothing)
