from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.key_bindings import KeyBinding
from napari.utils.shortcuts import default_shortcuts
from pytestqt.qtbot import QtBot

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers.care import KEYS, look_after
from napari_amil.plugin.layers.journal import journal_of
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels.correct import CorrectPanel
from napari_amil.plugin.window.work import Task, Worker
from napari_amil.worker.protocol.messages import Score

Done = Callable[..., Any]
BOX = np.array([[5.0, 5], [5, 20], [20, 20], [20, 5]])


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker, image: Image, layer: Shapes) -> CorrectPanel:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    panel = CorrectPanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


def test_what_was_done_is_undone_by_a_press(panel: CorrectPanel, layer: Shapes) -> None:
    assert not panel.undo.isEnabled()
    layer.selected_data = {0, 1}
    panel.delete.click()
    assert layer.nshapes == 3
    panel.undo.click()
    assert layer.nshapes == 5
    assert panel.job.notice.text() == "Undone: delete 2 cells."
    assert not panel.undo.isEnabled()
    panel.redo.click()
    assert layer.nshapes == 3


def test_the_tools_choose_the_mode_of_the_layer(panel: CorrectPanel, layer: Shapes) -> None:
    modes = []
    for button in panel.tools.values():
        button.click()
        modes.append(str(layer.mode))
    assert modes == ["add_polygon_lasso", "add_rectangle", "select", "direct"]


def test_a_type_is_given_in_free_words(panel: CorrectPanel, layer: Shapes, viewer: ViewerModel) -> None:
    selection_of(viewer).choose([CellKey("smear.png", 2), CellKey("smear.png", 3)])
    assert panel.chosen.text().startswith("2 of 5 cells chosen")
    panel.type.setEditText("burr cell")
    panel.type.lineEdit().returnPressed.emit()
    assert layer.features["cell_type"].tolist() == ["", "burr cell", "burr cell", "", ""]
    assert panel.type.findText("burr cell") >= 0
    layer.selected_data = {0}
    assert panel.type.currentText() == ""


def test_leaving_out_is_taken_back_by_the_same_button(panel: CorrectPanel, layer: Shapes) -> None:
    assert not panel.out.isEnabled()
    layer.selected_data = {4}
    panel.out.click()
    assert layer.features["status"].iloc[4] == "excluded"
    assert panel.out.text() == "Take back"
    panel.out.click()
    assert layer.features["status"].iloc[4] == "unscored"
    assert panel.out.text() == "Leave out"


def test_the_next_unsure_cell_is_chosen_and_shown(panel: CorrectPanel, viewer: ViewerModel) -> None:
    panel.next.click()
    assert selection_of(viewer).current == CellKey("smear.png", 5)
    panel.next.click()
    assert selection_of(viewer).current == CellKey("smear.png", 4)
    for _ in range(4):
        panel.next.click()
    assert "no other unsure cell" in panel.chosen.text()


def test_only_changed_cells_are_scored(panel: CorrectPanel, layer: Shapes, done: Done) -> None:
    from_first = {"cell_id": [1, 2, 3, 4, 5], "anomaly": [70.0] * 5, "attention": [0.2] * 5}
    _layers.set_scores(layer, pd.DataFrame(from_first))
    layer._data_view.shift(1, np.array([4.0, 0.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(1,), vertex_indices=((),))
    layer.add(BOX, shape_type="rectangle")
    assert panel.chosen.text().endswith("2 not scored.")
    done(panel.rescored, panel.job.button.click)
    table = layer.features
    assert table["anomaly"].tolist()[0] == 70.0
    assert (table["anomaly"].iloc[[1, 5]] < 70).all()
    assert table["attention"].isna().tolist() == [False, True, False, False, False, True]
    assert table["status"].tolist() == ["scored"] * 6
    assert panel.job.notice.text().startswith("2 cells scored")
    assert journal_of(layer).undo() == "Undone: score 2 cells."


def test_changed_cells_are_measured_among_their_neighbours(
    panel: CorrectPanel, layer: Shapes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    _layers.set_scores(layer, pd.DataFrame({"cell_id": [1, 2, 4, 5], "anomaly": 1.0}))
    sent: list[Cells] = []
    start = worker.start

    def recorded(request: Score) -> Task:
        with np.load(request.cells) as arrays:
            sent.append(Cells.from_arrays(dict(arrays)))
        return start(request)

    monkeypatch.setattr(worker, "start", recorded)
    panel.run()
    assert [cells.cell_id.tolist() for cells in sent] == [[3]]
    assert len(sent[0].others) == 4
    panel.job.cancel()


def test_without_a_changed_cell_nothing_is_sent(panel: CorrectPanel, layer: Shapes) -> None:
    _layers.set_scores(layer, pd.DataFrame({"cell_id": [1, 2, 3, 4, 5], "anomaly": 1.0}))
    panel.run()
    assert "scored already" in panel.job.notice.text()
    assert not panel.job.is_running


def test_without_cells_it_says_what_to_do(qtbot: QtBot, worker: Worker) -> None:
    panel = CorrectPanel(ViewerModel(), worker)
    qtbot.addWidget(panel)
    assert "Find cells first" in panel.chosen.text()
    panel.go_to_next()
    panel.run()
    assert not panel.next.isEnabled()


def test_a_duplicated_layer_is_looked_after(viewer: ViewerModel, layer: Shapes, qtbot: QtBot) -> None:
    look_after(viewer)
    viewer.add_layer(layer)
    data, attributes, kind = layer.as_layer_data_tuple()
    twin = viewer.add_layer(type(layer).create(copy.deepcopy(data), attributes, kind))
    twin.add(BOX, shape_type="rectangle")
    assert twin.features["cell_id"].tolist() == [1, 2, 3, 4, 5, 6]
    assert layer.nshapes == 5
    journal_of(twin).undo()
    assert twin.nshapes == 5


def test_cells_find_their_image_again(
    viewer: ViewerModel, layer: Shapes, image: Image, field: np.ndarray, qtbot: QtBot
) -> None:
    look_after(viewer)
    viewer.add_layer(layer)
    other = viewer.add_image(field[:100], rgb=True, name="smear.png")
    assert _layers.need_record(layer).image_id != str(other.unique_id)
    viewer.layers.remove(other)
    again = viewer.add_image(field, rgb=True, name="smear.png", scale=(2, 2))
    assert _layers.need_record(layer).image_id == str(again.unique_id)
    np.testing.assert_allclose(layer.scale, (2, 2))


def test_the_keys_collide_with_nothing(panel: CorrectPanel, layer: Shapes) -> None:
    theirs = {KeyBinding.from_str(str(key)) for keys in default_shortcuts.values() for key in keys}
    names = [
        name for name, keys in default_shortcuts.items() if not re.search("points|labels|image_|plane", name)
    ]
    taken = {KeyBinding.from_str(str(key)) for name in names for key in default_shortcuts[name]}
    ours = set(layer.keymap)
    assert len(ours) == 15  # ten of them name cells
    assert ours & taken == {KeyBinding.from_str("Escape")}  # finishes a drawing, as napari does
    assert len(theirs) > 30
    assert {"N", "O", "Escape", "Ctrl-Z", "Ctrl-Shift-Z"} <= set(KEYS)
    assert all(what in panel.keys.content.findChild(type(panel.chosen)).text() for what in KEYS.values())


@pytest.mark.parametrize("name", ["cells", "cells.csv"])
def test_cells_are_saved_by_the_panel(panel: CorrectPanel, tmp_path: Path, name: str) -> None:
    panel.save_to(tmp_path / name)
    written = tmp_path / (name if "." in name else "cells.geojson")
    assert panel.job.notice.text() == f"Saved in '{written}'."
    assert written.stat().st_size > 500
