"""The whole way in the real window: open, detect, score, colour, look, correct, save, open again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import napari
import numpy as np
import pandas as pd
import pytest
from napari._app_model import get_app_model
from napari.layers import Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QSettings
from vispy.gloo import gl

from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.layers import care as _care
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.selection import CellKey, keys_of, selection_of
from napari_amil.plugin.window.docks import PLUGIN, open_panel
from napari_amil.plugin.window.panel import SMEAR_TITLE
from napari_amil.plugin.window.work import shared_worker

WAIT_MS = 300_000


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_care, "autosave_folder", lambda: tmp_path / "autosave")
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path))


@pytest.fixture
def window(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[napari.Viewer]:
    """A real window that is not shown; what napari asks of OpenGL, which offscreen lacks, is answered."""
    monkeypatch.setattr(gl, "glGetParameter", lambda name: "" if name == gl.GL_EXTENSIONS else 4096)
    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()


@pytest.fixture(autouse=True)
def _one_worker(qtbot: QtBot) -> Iterator[None]:
    """The window's own worker with its networks goes with the test."""
    yield
    worker = shared_worker()
    worker.close()
    worker.setParent(None)
    worker.deleteLater()
    gc.collect()


def _rows(layer: Shapes) -> pd.DataFrame:
    return layer.features.sort_values("cell_id").reset_index(drop=True)


def test_the_way_from_a_field_to_corrected_cells_and_back(
    chula: Path, window: napari.Viewer, qtbot: QtBot, tmp_path: Path
) -> None:
    field = chula / "images" / "4.jpg"
    window.open(str(field), plugin="napari")
    smear = open_panel(window, SMEAR_TITLE)
    score = smear.score
    with qtbot.waitSignal(smear.finished, timeout=WAIT_MS) as found:
        smear.job.button.click()
    layer: Shapes = found.args[0]
    assert layer.nshapes > 60
    whole = layer.features[~layer.features["touches_border"]]
    assert whole["anomaly"].notna().all()
    assert score.verdict.text()

    score.colours.setValue("anomaly")
    scale = scales_of(window).get("anomaly")
    expected = scale.edge_rgba(layer.features["anomaly"].to_numpy())
    q = layer.features["anomaly_q"].to_numpy()
    assert (q < 0.05).sum() == 2  # both are drawn strongly, the other scored ones are muted
    expected[q >= 0.05, 3] = 0.5
    np.testing.assert_allclose(layer.edge_color, expected, atol=1e-6)

    row = int(np.nanargmax(layer.features["anomaly"]))
    key = keys_of(layer, [row])[0]
    score.hover.look_at(tuple(layer.data_to_world(np.asarray(layer.data[row]).mean(axis=0))))
    assert score.cell_text.text().startswith(f"Cell {key.cell_id}: more unusual than")

    gallery = open_panel(window, "Cell gallery")
    qtbot.waitUntil(lambda: len(gallery._shown) == layer.nshapes, timeout=WAIT_MS)
    gallery.order.setValue("anomaly")
    n_scored = int(layer.features["anomaly"].notna().sum())
    ranked = [gallery.key_at(place).cell_id for place in range(n_scored)]
    known = layer.features.set_index("cell_id")["anomaly"]
    assert known.loc[ranked].is_monotonic_decreasing
    gallery.show_cell(0)
    assert selection_of(window).current == key
    assert layer.selected_data == {row}

    correct = open_panel(window, "Correct cells")
    before = _rows(layer)
    correct.delete.click()
    assert key.cell_id not in set(layer.features["cell_id"])
    correct.undo.click()
    pd.testing.assert_frame_equal(_rows(layer), before)
    selection_of(window).choose([CellKey(key.image, ranked[1])])
    correct.delete.click()
    _command("undo")
    pd.testing.assert_frame_equal(_rows(layer), before)
    _command("redo")
    assert ranked[1] not in set(layer.features["cell_id"])
    _command("next_unsure")
    assert len(layer.selected_data) == 1
    saved = tmp_path / "cells.geojson"
    correct.save_to(saved)
    left = _rows(layer)
    _reopened(field, saved, left)


STEPS = ("menu", "one press", "keys", "tabs", "hover", "click", "every panel")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Xvfb is a matter of Linux")
def test_a_newcomer_finds_the_way_with_a_real_mouse(tmp_path: Path) -> None:
    """From napari's menu to a pinned cell, in a real window under a virtual display; nothing is raised."""
    demo = import_module("napari_amil.plugin.entry.demo")  # last, since what it names is loaded when seen
    if demo.missing_packages():
        pytest.skip("what a window needs is missing here")
    environment = {**os.environ, "NAPARI_CONFIG": str(tmp_path / "s.yaml"), "XDG_CONFIG_HOME": str(tmp_path)}
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        environment.pop(name, None)
    with demo.some_display(1400, 800):
        environment |= {"DISPLAY": os.environ["DISPLAY"], "QT_QPA_PLATFORM": "xcb"}
        command = [sys.executable, str(Path(__file__).with_name("newcomer.py"))]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=300
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert tuple(done.stdout.split("\n"))[: len(STEPS)] == STEPS
    assert "Traceback" not in done.stderr


def _command(name: str) -> None:
    """Choose an entry of the plugin's menu."""
    get_app_model().commands.execute_command(f"{PLUGIN}.{name}").result()


def _reopened(field: Path, saved: Path, left: pd.DataFrame) -> None:
    """Another window shows the same cells with the same scores, on the same image."""
    viewer = napari.Viewer(show=False)
    try:
        viewer.open(str(saved), plugin=PLUGIN)
        viewer.open(str(field), plugin="napari")
        (again,) = cell_layers(viewer.layers)
        pd.testing.assert_frame_equal(_rows(again), left)
        assert again.metadata["napari_amil"].image_id == str(viewer.layers[-1].unique_id)
    finally:
        viewer.close()
