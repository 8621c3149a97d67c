"""Controls are sent, what differs is said, and every open image is scored with the new model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_amil.core.base.types import Cells
from napari_amil.plugin.panels.calibrate import CalibratePanel
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]


@pytest.fixture
def panel(
    qtbot: QtBot, viewer: ViewerModel, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CalibratePanel:
    monkeypatch.setattr("napari_amil.plugin.panels.calibrate.user_folder", lambda: tmp_path / "own")
    panel = CalibratePanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def calibrated(panel: CalibratePanel, tmp_path: Path, done: Done) -> str:
    """Return the path of the model that a press made of some controls."""
    (tmp_path / "our controls").mkdir()
    panel.controls.setValue(tmp_path / "our controls")
    path: str = done(panel.calibrated, panel.job.button.click)
    return path


def test_without_controls_nothing_is_done(panel: CalibratePanel) -> None:
    panel.job.button.click()
    assert "Choose the folder" in panel.job.notice.text()
    assert not panel.job.is_running


def test_the_model_goes_to_a_file_of_its_own_and_the_difference_is_said(
    panel: CalibratePanel, calibrated: str, tmp_path: Path
) -> None:
    assert Path(calibrated).parent == tmp_path / "own" / "models"
    assert Path(calibrated).name.startswith("our-controls-")
    assert panel.drift.texts == ["Stain: 1.40 times.", "They differ clearly."]
    assert panel.use.isEnabled()


def test_every_open_image_is_scored_again_with_it(
    panel: CalibratePanel,
    calibrated: str,
    viewer: ViewerModel,
    worker: Worker,
    image: Image,
    layer: Shapes,
    field: np.ndarray,
    cells: Cells,
    build_layer: Any,
    done: Done,
    qtbot: QtBot,
) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    score = ScorePanel(viewer, worker)
    layout = QHBoxLayout(window)
    layout.addWidget(panel)
    layout.addWidget(score)
    viewer.add_layer(image)
    viewer.add_layer(layer)
    other = viewer.add_image(field, rgb=True, name="other")
    second = viewer.add_layer(build_layer(cells, other))
    assert done(panel.rescored, panel.use.click) == 2
    assert score.model.value() == calibrated
    for scored in (layer, second):
        assert scored.features["anomaly"].notna().all()
    assert panel.note.text() == "2 images are scored against your controls."
    panel.setParent(None)  # it outlives this window


def test_without_a_score_panel_the_remedy_is_named(panel: CalibratePanel, calibrated: str) -> None:
    panel.use.click()
    assert "Open the panel first: Plugins, AMIL blood smears, Look at a smear" in panel.note.text()
