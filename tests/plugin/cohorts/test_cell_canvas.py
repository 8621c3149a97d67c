"""A sample of cell images is one canvas whose cells are those of every other view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import box_outline
from napari_amil.core.exchange.project import Project, write_project
from napari_amil.plugin.cohorts.cell_canvas import is_of_cell_images
from napari_amil.plugin.cohorts.field_opening import find_same_cell, open_field
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.layers.cell_layer import need_record
from napari_amil.plugin.layers.selection import CellKey, keys_of, rows_of, selection_of
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.reasons.sample_verdict import summary, verdict_words

SIZES = ((20, 24), (16, 16), (20, 10))


@pytest.fixture
def cells(tmp_path: Path) -> pd.DataFrame:
    """Three cells of one sample in three images of different size, each of one colour."""
    rows = []
    for number, (height, width) in enumerate(SIZES, 1):
        name = f"P1/{number}.png"
        (tmp_path / "P1").mkdir(exist_ok=True)
        PIL.Image.new("RGB", (width, height), (40 * number, 0, 0)).save(tmp_path / name)
        box = {"y0": 0.0, "x0": 0.0, "y1": float(height), "x1": float(width)}
        rows.append({"bag": "P1", "image": name, "cell_id": number, **box, "anomaly": number / 10})
    return pd.DataFrame(rows).assign(status="scored")


def test_every_cell_lies_on_its_picture(cells: pd.DataFrame, tmp_path: Path) -> None:
    viewer = ViewerModel()
    layer = open_field(viewer, tmp_path, cells, (), None)
    canvas = np.asarray(viewer.layers[0].data)
    assert canvas.dtype == np.uint8
    for row, (height, width) in enumerate(SIZES):
        y0, x0, y1, x1 = layer.features.loc[row, ["y0", "x0", "y1", "x1"]].to_numpy(float).astype(int)
        assert (y1 - y0, x1 - x0) == (height, width)
        assert (canvas[y0:y1, x0:x1] == (40 * (row + 1), 0, 0)).all()
    assert (canvas == 255).all(axis=2).sum() == canvas[..., 0].size - sum(h * w for h, w in SIZES)
    assert layer.features["anomaly"].tolist() == [0.1, 0.2, 0.3]
    assert viewer.layers[0].name == "P1"


def test_a_cell_that_is_chosen_elsewhere_is_chosen_on_the_canvas(cells: pd.DataFrame, tmp_path: Path) -> None:
    viewer = ViewerModel()
    layer = open_field(viewer, tmp_path, cells, (), None)
    key = CellKey("P1/2.png", 2, "P1")
    assert keys_of(layer, [1]) == [key]
    assert rows_of(layer, [key, CellKey("P1/2.png", 3, "P1"), CellKey("P1/3.png", 3, "other")]) == [1]
    assert find_same_cell(viewer, key, np.array([0, 0, 16, 16])) == (layer, 1)
    selection = selection_of(viewer)
    selection.choose([key])
    assert layer.selected_data == {1}
    layer.selected_data = {2}
    assert selection.current == CellKey("P1/3.png", 3, "P1")


def test_fields_of_many_cells_are_no_canvas(cells: pd.DataFrame) -> None:
    assert is_of_cell_images(cells)
    assert not is_of_cell_images(cells.assign(image="P1/1.png"))
    assert not is_of_cell_images(cells.assign(y0=[0.0, 3.0, 0.0]))
    assert not is_of_cell_images(cells.iloc[:1])


def test_a_lost_picture_is_named(cells: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "P1" / "2.png").unlink()
    viewer = ViewerModel()
    with pytest.raises(AmilError, match=r"2.png' cannot be opened"):
        open_field(viewer, tmp_path, cells, (), None)
    assert not viewer.layers


def test_a_sample_of_a_scored_folder_brings_its_verdict_and_words(
    qtbot: QtBot, cells: pd.DataFrame, tmp_path: Path
) -> None:
    clinical = {"image_weight": 0.25, "clinical_AGE": -0.5}
    bag = {"bag": "P1", "patient": "P1", "predicted": "ill", "n_cells": 3, "caveat": np.nan, **clinical}
    bags = pd.DataFrame([{**bag, "probability_ill": 0.9, "probability_well": 0.1}])
    cells = cells.assign(detection_score=1.0, area_px=200.0, touches_border=False, overlaps=False)
    cells = cells.assign(morph_nucleus_solidity=0.7, morph_nucleus_solidity_z=-4.0, anomaly_percentile=99.0)
    images = {name: [str(tmp_path / name), 0] for name in cells["image"]}
    outlines = tuple(box_outline(box) for box in cells[["y0", "x0", "y1", "x1"]].to_numpy(np.float32))
    folder = tmp_path / "scored"
    write_project(Project(cells, bags, np.zeros((3, 2), np.float32), outlines, {"images": images}), folder)
    viewer = ViewerModel()
    results = open_results_of(viewer)
    with qtbot.waitSignal(results.changed):
        results.open(folder)
    results.show_cell(2)
    layer = viewer.layers[1]
    found = need_record(layer).bag
    assert found["probability"] == {"ill": 0.9, "well": 0.1}
    assert verdict_words(found).caption == "Sample P1 looks most like"
    assert "The pictures count for 25 % here, the clinical values for 75 %." in summary(found, layer.features)
    card = CellCard(viewer)
    qtbot.addWidget(card)
    card.show()
    assert card.words.text() == "• A more cleft nucleus (-4.0)"
