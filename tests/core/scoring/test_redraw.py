"""Cells are redrawn as control cells: in place, in reports, and refused in words by models that cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.anomaly.reconstruction.memae import Memae
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import drain
from napari_amil.core.cohort.smear import SyntheticSmear, SynthSettings, synthetic_smear
from napari_amil.core.exchange.project import Project
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX
from napari_amil.core.instances.cell_inputs import crops_with_masks
from napari_amil.core.instances.extract import Recipe, prepare
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.report.report import write_reports
from napari_amil.core.scoring.redraw import HOTTEST, heat_picture, redraw_cells, twin_sheets

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def smear() -> SyntheticSmear:
    return synthetic_smear(0, SynthSettings(height=200, width=260, n_cells=14, n_platelets=0))


@pytest.fixture
def drawing(small_bundle: Bundle) -> Recipe:
    """A model with an untrained network that redraws cells, and no detector."""
    settings = small_bundle.settings.changed(
        {
            "model": {
                "channels": ["latent_distance", "morph_distance", "memae"],
                "networks": {"memae": {"size_px": 32, "widths": [4, 4, 8], "slots": 9}},
            }
        }
    )
    torch.manual_seed(0)
    scorer = small_bundle.need_scorer()
    channels = scorer.anomaly.channels | {"memae": Memae(settings.model)}
    anomaly = replace(scorer.anomaly, settings=settings.model, channels=channels)
    bundle = replace(small_bundle, detector=None, settings=settings, scorer=replace(scorer, anomaly=anomaly))
    return Recipe.from_bundle(bundle, None, CPU)


def test_every_cell_has_a_twin_and_its_difference_lies_in_place(
    smear: SyntheticSmear, drawing: Recipe
) -> None:
    found = drain(redraw_cells(smear.image, smear.cells, drawing))
    n = len(smear.cells)
    assert found.network == "memae"
    assert found.field.shape == smear.image.shape[:2]
    seen = prepare(smear.image, drawing).view
    crop_px = REFERENCE_DIAMETER_PX / seen.scale
    everything = seen.part((slice(0, 200), slice(0, 260)))
    crops = crops_with_masks(everything, smear.cells, seen.diameter_px, crop_px, drawing.settings.crop)
    np.testing.assert_array_equal(found.cell, np.moveaxis(crops[:, :3], 1, 3))
    network = drawing.bundle.need_scorer().anomaly.channels["memae"]
    assert isinstance(network, Memae)
    alone = network.redraw(CellInputs(pixels=crops))
    np.testing.assert_allclose(found.drawn.heat, alone.heat, atol=1e-5)
    assert found.drawn.memory is not None
    assert found.drawn.memory.shape == (n, 64, 64, 3)
    heat = np.nan_to_num(found.drawn.heat)
    centres = ((smear.cells.boxes[:, :2] + smear.cells.boxes[:, 2:]) / 2).astype(int)
    inside = (centres > 3).all(axis=1) & (centres < [197, 257]).all(axis=1)
    for row in np.flatnonzero(inside):
        middle = heat[row, 30:34, 30:34]
        y, x = centres[row]
        near = found.field[y - 1 : y + 2, x - 1 : x + 2].max()
        assert near >= middle.min() - 1e-6
    assert found.field.max() == pytest.approx(heat.max(), rel=0.25)
    masks = crops[:, 3].any(axis=(1, 2))
    assert (np.isfinite(found.drawn.heat).all(axis=(1, 2)) == masks).all()
    covered = np.zeros(found.field.shape, dtype=bool)
    for y0, x0, y1, x1 in smear.cells.boxes.astype(int):
        covered[max(y0 - 12, 0) : y1 + 12, max(x0 - 12, 0) : x1 + 12] = True
    assert found.field[~covered].max(initial=0) == 0


def test_heat_covers_a_cell_where_it_is_hot_alone() -> None:
    cell = np.full((4, 4, 3), 100, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0], heat[1, 1] = HOTTEST, np.nan
    drawn = heat_picture(cell, heat)
    assert (drawn.reshape(-1, 3)[1:] == 100).all()
    assert drawn[0, 0, 0] > 200
    assert drawn[0, 0, 2] < drawn[0, 0, 0] - 40  # yellow


def test_a_report_shows_the_strangest_cells_beside_their_twins(
    smear: SyntheticSmear, drawing: Recipe, tmp_path: Path
) -> None:
    np.save(tmp_path / "field.npy", smear.image)
    file = tmp_path / "field.png"
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(smear.image).save(file)
    n = len(smear.cells)
    cells = smear.cells.table().assign(bag="b", image="field.png", anomaly=np.arange(n) + 1.0)
    cells = cells.assign(anomaly_q=0.5, anomaly_percentile=50.0, anomaly_memae=np.arange(n)[::-1] + 1.0)
    bags = pd.DataFrame(
        [{"bag": "b", "patient": "p", "label": "control", "predicted": "control", "verdict": "control"}]
    ).assign(n_cells=n, probability_control=1.0, novelty_p=0.5, caveat="", anomaly_p95=1.0, share_q05=0.0)
    card = {"images": {"field.png": [str(file), 0]}, "classes": ["control", "ill"], "control": "control"}
    project = Project(cells, bags, np.zeros((n, 4), np.float32), smear.cells.outlines, card)
    sheets = drain(twin_sheets(project, ["b"], drawing))
    picture, caption = sheets["b"]
    assert "'anomaly_memae'" in caption
    assert picture.shape[0] > 4 * 64  # five rows of cell, twin, difference and memory
    drain(write_reports(project, tmp_path / "report", ["b"], twins=sheets))
    page = next((tmp_path / "report" / "samples").glob("*.html")).read_text("utf-8")
    assert "Redrawn as control cells" in page


def test_a_model_without_a_network_says_so(smear: SyntheticSmear, recipe: Recipe) -> None:
    with pytest.raises(
        AmilError, match="no network that redraws cells; add one with 'napari-amil train-anom"
    ):
        drain(redraw_cells(smear.image, smear.cells, recipe))


def test_an_unknown_network_is_refused_with_the_known_ones(smear: SyntheticSmear, drawing: Recipe) -> None:
    with pytest.raises(AmilError, match="no network 'ra'; it has memae"):
        drain(redraw_cells(smear.image, smear.cells, drawing, "ra"))
