"""Cells are named by keys in the image and the gallery; all cells of images or of a cohort get types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells
from napari_amil.plugin.cohorts.folder_names import read_names
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import set_scores
from napari_amil.plugin.layers.cell_names import open_project, type_keys
from napari_amil.plugin.layers.edits import set_cell_type
from napari_amil.plugin.layers.evidence import Evidence, keep_evidence
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels.cell_types import CellTypesPanel
from napari_amil.plugin.panels.gallery import GalleryPanel
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]
WAIT_MS = 120_000


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> CellTypesPanel:
    panel = CellTypesPanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def scored_layers(viewer: ViewerModel, field: np.ndarray, cells: Cells, build_layer: Any) -> list[Shapes]:
    """Two open images of five cells, four of each with scores by one model."""
    look_after(viewer)
    made = []
    for name in ("a", "b"):
        image = Image(field, rgb=True, name=name)
        layer = build_layer(cells, image)
        layer.metadata["napari_amil"].image_name = f"{name}.png"
        viewer.add_layer(image)
        viewer.add_layer(layer)
        scores = {"cell_id": [1, 2, 3, 4], "anomaly": [1.0, 2, 8, 9], "morph_tail": [0.0, 0, 1, 1]}
        set_scores(layer, pd.DataFrame(scores))
        arrays = {"cell_id": np.array([4, 3, 2, 1]), "z": np.array([[4.0], [3], [2], [1]])}
        keep_evidence(layer, Evidence(Path("none"), arrays | {"model_sha256": np.array("m")}))
        made.append(layer)
    return made


def press(viewer: ViewerModel, layer: Shapes, key: str) -> None:
    """Press a key as napari does while the layer is active."""
    viewer.layers.selection.active = layer
    next(act for bound, act in layer.keymap.items() if str(bound) == key)(layer)


def test_open_images_are_one_project(viewer: ViewerModel, scored_layers: list[Shapes]) -> None:
    project = open_project(viewer.layers)
    assert project.bags["patient"].tolist() == ["a.png", "b.png"]
    assert project.embeddings[:, 0].tolist() == [1, 2, 3, 4] * 2
    assert project.card["bundle"] == {"sha256": "m"}
    assert project.cells["morph_tail"].tolist() == [0, 0, 1, 1] * 2
    other = {"cell_id": np.array([1]), "z": np.ones((1, 1)), "model_sha256": np.array("other")}
    keep_evidence(scored_layers[1], Evidence(Path("none"), other))
    with pytest.raises(AmilError, match="several models"):
        open_project(viewer.layers)


def test_keys_name_the_chosen_cells_of_all_images(
    panel: CellTypesPanel, viewer: ViewerModel, scored_layers: list[Shapes]
) -> None:
    for name in ("small", "large"):
        panel.name.setText(name)
        panel.add.click()
    selection_of(viewer).choose([CellKey("a.png", 3), CellKey("b.png", 4)])
    press(viewer, scored_layers[0], "Alt+2")
    assert [layer.features["cell_type"].tolist() for layer in scored_layers] == [
        ["", "", "large", "", ""],
        ["", "", "", "large", ""],
    ]
    assert panel.types.lines() == [("1", "small", "0", "", ""), ("2", "large", "2", "", "")]
    press(viewer, scored_layers[0], "Alt+0")
    assert panel.names().empty
    press(viewer, scored_layers[0], "Alt+7")  # no such type: nothing happens
    assert panel.names().empty


def test_learned_types_come_into_all_images_and_go_with_a_change(
    panel: CellTypesPanel, viewer: ViewerModel, scored_layers: list[Shapes], done: Done, tmp_path: Path
) -> None:
    panel.run()
    assert "Name some cells first" in panel.job.notice.text()
    set_cell_type(scored_layers[0], [2], "large")
    done(panel.typed, panel.run)
    assert scored_layers[0].features["type"].tolist() == ["small", "small", "large", "large", ""]
    assert scored_layers[1].features["type"].tolist() == ["small", "small", "large", "", ""]
    assert "7 of 8 cells have a type" in panel.quality.text()
    assert "Macro F1 0.83: each named image or patient predicted without itself." in panel.quality.text()
    assert "Small: smaller than the other named cells." in panel.quality.text()
    assert ("", "large", "1", "100%", "75%") in panel.types.lines()
    assert panel.counts.text() == "a: small 2 (10% to 70%)"
    panel.next.click()
    assert selection_of(viewer).current == CellKey("a.png", 2)
    panel.save_to(str(tmp_path / "mine"))
    assert (tmp_path / "mine.safetensors").exists()
    scored_layers[0].data = [corners + 3 for corners in scored_layers[0].data]
    assert set(scored_layers[0].features["type"]) == {""}


def test_saved_types_need_no_name(
    panel: CellTypesPanel, scored_layers: list[Shapes], done: Done, tmp_path: Path
) -> None:
    panel.load_from(str(tmp_path / "mine.safetensors"))
    assert panel.loaded.text() == "With the named cells of 'mine.safetensors'."
    learned = done(panel.typed, panel.run)
    assert learned.reply.classifier.read_text() == f"None {tmp_path / 'mine.safetensors'}"


def test_digits_in_the_gallery_name_cells_of_a_cohort(
    qtbot: QtBot, panel: CellTypesPanel, viewer: ViewerModel, scored_cohort: Path, done: Done
) -> None:
    gallery = GalleryPanel(viewer)
    qtbot.addWidget(gallery)
    type_keys(viewer).add("spiky")
    for part in (gallery, panel):
        part.source.setValue(scored_cohort)
    qtbot.waitUntil(lambda: len(gallery._shown) == 15, timeout=WAIT_MS)
    gallery.grid.show_chosen([0, 1], 0)
    chosen = [gallery.key_at(position) for position in (0, 1)]
    qtbot.keyClick(gallery.grid, Qt.Key.Key_1)
    kept = read_names(scored_cohort)
    assert kept["cell_type"].tolist() == ["spiky", "spiky"]
    assert set(zip(kept["image"], kept["cell_id"], strict=True)) == {(k.image, k.cell_id) for k in chosen}
    assert panel.types.lines() == [("1", "spiky", "2", "", "")]
    assert [gallery._tile(position).caption for position in (0, 1)] == ["spiky", "spiky"]
    done(panel.typed, panel.run)
    qtbot.waitUntil(lambda: "type" in gallery._cells.table, timeout=WAIT_MS)
    assert gallery._cells.kinds["type"] == ["large", "small"]
    assert (scored_cohort / "types" / "types.safetensors").exists()
    gallery.grid.show_chosen([0], 0)
    qtbot.keyClick(gallery.grid, Qt.Key.Key_0)
    assert len(read_names(scored_cohort)) == 1
