"""Look at a smear: one press finds and scores; the list, the verdict and the reasons follow the cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari._qt.qt_resources import get_stylesheet
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, Qt
from qtpy.QtWidgets import QWidget

from napari_amil.plugin.colour.overlays import DOTS, overlays_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.selection import selection_of
from napari_amil.plugin.panels.smear import SmearPanel
from napari_amil.plugin.panels.verdict import VerdictPanel
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
    assert "Drag an image of a blood smear" in panel.summary.detail.text()
    assert _seen(panel.sample, panel.job, panel.cells, panel.summary.verdict) == [True, False, False, False]
    panel.run()
    assert "There is no image yet" in panel.job.notice.text()


def test_one_press_tells_which_how_unusual_and_why(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel
) -> None:
    assert scored.nshapes == 7
    assert panel.summary.verdict.text() == "thalassemia"
    table = scored.features
    clear = int((table["anomaly_q"] < 0.05).sum())
    assert "About 30 % of its cells are abnormal" in panel.summary.detail.text()
    assert panel.summary.share.text().startswith(
        f"{clear} of 7 cells stand out" if clear else "None of 7 cells is beyond chance; the most unusual"
    )
    ranked = table.sort_values("anomaly", ascending=False)["cell_id"].tolist()[:8]
    assert [key.cell_id for key in panel.cells.keys] == ranked
    assert panel.cells.list.item(0).text().splitlines()[1] == "longer than 99 %"
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
    assert not panel.summary.verdict.isVisible()
    assert "The cells have changed" in panel.summary.detail.text()


def test_cells_that_are_somebodys_own_are_scored_and_not_found_anew(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel, done: Done, qtbot: QtBot
) -> None:
    scored.remove([0])
    qtbot.waitUntil(lambda: panel.job.button.text() == "Score these 6 cells", timeout=WAIT_MS)
    assert done(panel.finished, panel.job.button.click) is scored
    assert scored.nshapes == 6
    assert panel.summary.verdict.isVisible()


def test_each_image_and_each_frame_has_its_own_verdict(
    panel: SmearPanel, viewer: ViewerModel, field: np.ndarray, done: Done, qtbot: QtBot
) -> None:
    viewer.add_image(np.stack([field[..., 1]] * 3), name="film")
    viewer.dims.set_point(0, 2)
    done(panel.finished, panel.run)
    assert panel.summary.verdict.isVisible()
    verdict = VerdictPanel(viewer, panel.score._worker)
    qtbot.addWidget(verdict)
    assert verdict.headline.text() == panel.score.verdict.text() == panel.summary.verdict.text()
    viewer.dims.set_point(0, 0)
    qtbot.waitUntil(lambda: not panel.summary.verdict.isVisible(), timeout=WAIT_MS)
    assert panel.cells.keys == []
    elsewhere = "These cells lie on frame 3, which is not shown; go there for their verdict."
    qtbot.waitUntil(lambda: verdict.reasons.text() == elsewhere, timeout=WAIT_MS)
    assert panel.score.verdict_detail.text() == elsewhere
    assert not any(part.isVisibleTo(None) for part in (verdict.headline, panel.score.verdict))
    viewer.dims.set_point(0, 2)
    qtbot.waitUntil(panel.summary.verdict.isVisible, timeout=WAIT_MS)
    viewer.add_image(field, rgb=True, name="another")
    qtbot.waitUntil(lambda: not panel.summary.verdict.isVisible(), timeout=WAIT_MS)


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
    panel.steps.buttons[0].click()
    assert panel.job.notice.text() == "Open the panel first: Plugins, AMIL blood smears, Cell card."


def _open_steps(panel: SmearPanel) -> list[str]:
    buttons = panel.steps.buttons
    assert all(button.isEnabled() != button.toolTip().startswith("Find cells first.") for button in buttons)
    return [button.text() for button in buttons if button.isEnabled()]


EVERY_STEP = [
    "Why this cell?",
    "Why the verdict?",
    "Correct cells",
    "All cells",
    "My microscope",
    "Many samples",
]


def test_steps_that_need_cells_wait_for_them(
    panel: SmearPanel, viewer: ViewerModel, image: Image, layer: Shapes, qtbot: QtBot
) -> None:
    assert _open_steps(panel) == EVERY_STEP[4:]
    viewer.add_layer(layer)  # cells from a file, without their image
    qtbot.waitUntil(lambda: _open_steps(panel) == EVERY_STEP, timeout=WAIT_MS)
    viewer.add_layer(image)
    another = viewer.add_image(np.zeros((50, 60, 3), np.uint8), rgb=True, name="another")
    qtbot.waitUntil(lambda: _open_steps(panel) == EVERY_STEP[4:], timeout=WAIT_MS)
    panel.image.set_layer(image)
    qtbot.waitUntil(lambda: _open_steps(panel) == EVERY_STEP, timeout=WAIT_MS)
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: _open_steps(panel) == EVERY_STEP[4:], timeout=WAIT_MS)
    assert another in viewer.layers


def test_steps_open_when_cells_are_found_or_drawn_shapes_are_scored(
    panel: SmearPanel, viewer: ViewerModel, field: np.ndarray, done: Done, qtbot: QtBot
) -> None:
    viewer.add_image(field, rgb=True, name="smear")
    drawn = viewer.add_shapes([np.array([[10, 10], [10, 40], [40, 40], [40, 10]])])
    panel.score.cells.set_layer(drawn)
    assert _open_steps(panel) == EVERY_STEP[4:]
    done(panel.score.scored, panel.score.run)
    qtbot.waitUntil(lambda: _open_steps(panel) == EVERY_STEP, timeout=WAIT_MS)
    viewer.layers.remove(drawn)
    qtbot.waitUntil(lambda: _open_steps(panel) == EVERY_STEP[4:], timeout=WAIT_MS)
    done(panel.detect.detected, panel.detect.run)
    qtbot.waitUntil(lambda: _open_steps(panel) == EVERY_STEP, timeout=WAIT_MS)


def test_cells_shown_as_dots_keep_their_verdict_and_their_list(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel
) -> None:
    overlays_of(viewer).set_mode(DOTS)
    panel.refresh()
    assert not scored.visible
    assert len(panel.cells.keys) == 7
    assert panel.summary.verdict.isVisible()


def test_cells_without_scores_are_not_ranked(layer: Shapes) -> None:
    assert ranked_cells(layer) == []
    assert short_rank(100.0) == "rarer than all controls"


def test_the_look_of_the_image_stands_before_any_percentage(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel, qtbot: QtBot
) -> None:
    bag = record_of(scored).bag
    bag |= {"look": "Unlike the images that the model knows: the cells are 3 times as large. Calibrate."}
    bag |= {"looks_alike": False, "caveat": "Compared with the images ...", "verdict": "abstain"}
    panel.refresh()
    summary = panel.summary
    assert _seen(summary.caption, summary.verdict, summary.look) == [False, True, True]
    assert summary.verdict.text() == "No verdict"
    assert summary.look.text().startswith("Unlike the images")
    assert summary.detail.text().startswith("So the model names no class. About 30 %")
    assert summary.layout().indexOf(summary.look) < summary.layout().indexOf(summary.detail)
    assert not any("%" in part.text() for part in (summary.caption, summary.verdict, summary.look))


def test_the_diameter_is_said_in_full_drawn_and_given(
    panel: SmearPanel, scored: Shapes, viewer: ViewerModel, qtbot: QtBot, done: Done
) -> None:
    found = record_of(scored).agreed_px
    choice = panel.detect.diameter
    assert choice.value() is None
    assert choice.box.text() == f"automatic: {found:.0f} px"
    assert any(layer.name == f"typical cell: {found:.0f} pixels" for layer in viewer.layers)
    panel.resize(300, 700)
    panel.setStyleSheet(get_stylesheet("dark"))  # which has wider margins
    QCoreApplication.processEvents()
    shown = choice.box.lineEdit()
    assert shown.fontMetrics().horizontalAdvance("automatic: 138 px") < shown.width()
    panel.circle.measured.emit(31.0)
    assert choice.value() == 31.0
    assert choice.box.text() == "31.0 px"
    qtbot.waitUntil(lambda: any(layer.name == "typical cell: 31 pixels" for layer in viewer.layers))
    panel.run()
    again = done(panel.finished)
    assert record_of(again).detection.cell_diameter_px == 31.0
    choice.setValue(None)
    assert choice.value() is None


def test_grey_planes_of_a_colour_image_are_offered_to_be_joined(
    panel: SmearPanel, viewer: ViewerModel, field: np.ndarray, qtbot: QtBot
) -> None:
    for number, colour in enumerate("RGB"):
        viewer.add_image(field[..., number], name=f"smear {colour}")
    qtbot.waitUntil(panel.join.isVisible, timeout=WAIT_MS)
    panel.join.button.click()
    assert [layer.name for layer in viewer.layers] == ["smear"]
    qtbot.waitUntil(lambda: not panel.join.isVisible(), timeout=WAIT_MS)
