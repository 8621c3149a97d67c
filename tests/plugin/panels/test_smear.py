"""Look at a smear: one press finds and scores; the list, the verdict and the reasons follow the cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_amil.plugin.layers.selection import selection_of
from napari_amil.plugin.panels.smear import SmearPanel
from napari_amil.plugin.reasons.ranked_cells import ranked_cells, short_rank
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]
WAIT_MS = 30_000


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> SmearPanel:
    panel = SmearPanel(viewer, worker)
    qtbot.addWidget(panel)
    panel.show()
    return panel


@pytest.fixture
def scored(panel: SmearPanel, viewer: ViewerModel, field: np.ndarray, done: Done) -> Shapes:
    viewer.add_image(field, rgb=True, name="smear")
    return done(panel.finished, panel.job.button.click)


def _seen(*parts: QWidget) -> list[bool]:
    return [part.isVisible() for part in parts]


def test_without_an_image_it_says_how_to_begin(panel: SmearPanel) -> None:
    assert "Drag an image of a blood smear" in panel.detail.text()
    assert _seen(panel.sample, panel.job, panel.cells, panel.verdict) == [True, False, False, False]
    panel.run()
    assert "There is no image yet" in panel.job.notice.text()


def test_one_press_tells_which_how_unusual_and_why(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel
) -> None:
    assert scored.nshapes == 7
    assert panel.verdict.text() == "thalassemia"
    table = scored.features
    clear = int((table["anomaly_q"] < 0.05).sum())
    assert "About 30 % of its cells are abnormal" in panel.detail.text()
    assert panel.share.text().startswith(f"{clear} of 7 cells stand out" if clear else "None of 7 cells")
    ranked = table.sort_values("anomaly", ascending=False)["cell_id"].tolist()[:8]
    assert [key.cell_id for key in panel.cells.keys] == ranked
    assert panel.cells.list.item(0).text().splitlines()[1] == "longer than 99 % of controls"
    assert "Click on a cell" in panel.why.text()
    panel.cells.list.setCurrentRow(1)
    assert selection_of(viewer).current == panel.cells.keys[1]
    assert panel.why.text().startswith(f"Cell {ranked[1]}: more unusual than")
    assert "Longer than 99 % of control cells" in panel.why.text()
    middle = scored.data_to_world(np.asarray(scored.data[table.index[table.cell_id == ranked[1]][0]]).mean(0))
    assert viewer.scene.camera.center[-2:] == pytest.approx(middle)


def test_the_list_follows_the_keyboard_the_selection_and_the_cells(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel, qtbot: QtBot
) -> None:
    keys = panel.cells.keys
    selection_of(viewer).choose([keys[2]], keys[2])
    assert panel.cells.list.currentRow() == 2
    qtbot.keyClick(panel.cells.list, Qt.Key.Key_Down)
    assert selection_of(viewer).current == keys[3]
    row = scored.features["cell_id"].tolist().index(keys[0].cell_id)
    scored.remove([row])
    qtbot.waitUntil(lambda: panel.cells.keys[0] == keys[1], timeout=WAIT_MS)
    assert not panel.verdict.isVisible()
    assert "The cells have changed" in panel.detail.text()


def test_cells_that_are_somebodys_own_are_scored_and_not_found_anew(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel, done: Done, qtbot: QtBot
) -> None:
    scored.remove([0])
    qtbot.waitUntil(lambda: panel.job.button.text() == "Score these 6 cells", timeout=WAIT_MS)
    assert done(panel.finished, panel.job.button.click) is scored
    assert scored.nshapes == 6
    assert panel.verdict.isVisible()


def test_each_image_and_each_frame_has_its_own_verdict(
    panel: SmearPanel, viewer: ViewerModel, field: np.ndarray, done: Done, qtbot: QtBot
) -> None:
    viewer.add_image(np.stack([field[..., 1]] * 3), name="film")
    viewer.dims.set_point(0, 2)
    done(panel.finished, panel.run)
    assert panel.verdict.isVisible()
    viewer.dims.set_point(0, 0)
    qtbot.waitUntil(lambda: not panel.verdict.isVisible(), timeout=WAIT_MS)
    assert panel.cells.keys == []
    viewer.dims.set_point(0, 2)
    qtbot.waitUntil(panel.verdict.isVisible, timeout=WAIT_MS)
    viewer.add_image(field, rgb=True, name="another")
    qtbot.waitUntil(lambda: not panel.verdict.isVisible(), timeout=WAIT_MS)


def test_cancel_stops_either_step_and_the_next_press_works(
    panel: SmearPanel, viewer: ViewerModel, field: np.ndarray, done: Done, qtbot: QtBot
) -> None:
    viewer.add_image(field, rgb=True, name="smear")
    panel.job.button.click()
    assert panel.job.button.text() == "Cancel"
    panel.job.button.click()
    assert panel.job.notice.text() == "Cancelled; nothing was changed."
    assert done(panel.finished, panel.job.button.click).nshapes == 7


def test_a_file_that_is_no_image_is_refused_in_one_sentence(
    panel: SmearPanel, viewer: ViewerModel, tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: str, plugin: str) -> list[Image]:
        raise OSError("broken data")

    object.__setattr__(viewer, "open", refuse)
    panel.open_image(str(tmp_path / "x.png"))
    assert (
        panel.job.notice.text() == "The image 'x.png' cannot be opened (broken data); save it as PNG or TIFF."
    )
    assert panel.isVisible()


def test_without_a_window_the_next_steps_say_where_they_are(panel: SmearPanel, scored: Shapes) -> None:
    panel.steps[0].click()
    assert panel.job.notice.text() == "Open the panel first: Plugins, AMIL blood smears, Cell card."


def test_cells_without_scores_are_not_ranked(layer: Shapes) -> None:
    assert ranked_cells(layer) == []
    assert short_rank(100.0) == "rarer than all controls"
