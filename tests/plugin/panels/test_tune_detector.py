"""Corrected cells fine-tune the detector, whose findings are compared, taken up and given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication, QHBoxLayout, QWidget
from skimage.io import imread

from napari_amil.core.base.process import find_process
from napari_amil.core.model.bundle import load_bundle
from napari_amil.plugin.panels.detect import DetectPanel
from napari_amil.plugin.panels.tune_detector import TuneDetectorPanel
from napari_amil.plugin.training.annotations import TrainingImage, hold_out_words, refusal, weak_points
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.run_view import RunView
from napari_amil.plugin.training.runs import Run
from napari_amil.plugin.window.work import Worker

WAIT_MS = 600_000
SIDE_PX = 240


@pytest.fixture(scope="module")
def real_worker(qapp: QApplication) -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("napari_amil.plugin.training.detector_prepare.user_folder", lambda: tmp_path / "own")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "own"


def _panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker, state: Path) -> TuneDetectorPanel:
    panel = TuneDetectorPanel(viewer, worker, RunRegistry(state))
    qtbot.addWidget(panel)
    panel.show()
    return panel


def _corrected_smears(detect: DetectPanel, viewer: ViewerModel, chula: Path, qtbot: QtBot) -> list[Shapes]:
    """Find the cells of two real smears and take one away by hand."""
    layers = []
    for number in (73, 267):
        pixels = imread(chula / "images" / f"{number}.jpg")[:SIDE_PX, :SIDE_PX]
        image = viewer.add_image(pixels, rgb=True, name=f"smear {number}")
        viewer.layers.selection.active = image
        with qtbot.waitSignal(detect.detected, timeout=WAIT_MS) as found:
            detect.run()
        layers.append(found.args[0])
    layers[0].remove([0])
    return layers


def test_a_detector_learns_from_corrected_smears_and_is_taken_or_given_back(
    viewer: ViewerModel, real_worker: Worker, chula: Path, own_files: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    panel = _panel(qtbot, viewer, real_worker, tmp_path / "state")
    detect = DetectPanel(viewer, real_worker)
    window = QWidget()
    qtbot.addWidget(window)
    beside = QHBoxLayout(window)
    beside.addWidget(panel)
    beside.addWidget(detect)
    window.show()
    page = panel.prepare
    assert page.why.text().startswith("No annotated image yet")
    layers = _corrected_smears(detect, viewer, chula, qtbot)
    qtbot.waitUntil(lambda: "One image cannot both teach and judge" in page.why.text(), timeout=WAIT_MS)
    assert not page.start.isEnabled()
    page.images.topLevelItem(1).setCheckState(0, page.images.topLevelItem(0).checkState(0).Checked)
    assert page.start.isEnabled()
    assert [known.n_cells for known in page.images.learned()] == [layer.nshapes for layer in layers]
    assert any("the other is held out and judges" in text for text in page.problems.texts)
    page.settings.setValue(page.settings.value().model_copy(update={"steps": 400}))
    with qtbot.waitSignal(panel.started, timeout=WAIT_MS) as started:
        page.start.click()
    run: Run = started.args[0]
    _end_early(panel, run, qtbot)
    _compare_and_decide(panel, detect, run, viewer, qtbot)
    panel.setParent(None)  # they outlive this window
    detect.setParent(None)


def _end_early(panel: TuneDetectorPanel, run: Run, qtbot: QtBot) -> None:
    """Cancel the true child, resume it, and end it early with its best weights."""
    view = panel.runs.view
    _wait_for_steps(view, run, qtbot)
    child = find_process(run.folder / "process.json")
    assert child is not None
    view.buttons["cancel"].click()
    child.wait(timeout=WAIT_MS / 1000)
    qtbot.waitUntil(lambda: run.status().state == "cancelled", timeout=WAIT_MS)
    assert run.model() is None
    qtbot.waitUntil(view.buttons["resume"].isVisible, timeout=WAIT_MS)
    assert not view.buttons["accept"].isVisible()
    view.buttons["resume"].click()
    qtbot.waitUntil(lambda: run.status().state == "running", timeout=WAIT_MS)
    _wait_for_steps(view, run, qtbot)
    view.buttons["stop"].click()
    qtbot.waitUntil(lambda: run.status().state == "finished", timeout=WAIT_MS)


def _wait_for_steps(view: RunView, run: Run, qtbot: QtBot) -> None:
    qtbot.waitUntil(
        lambda: run.log.step is not None and run.log.step.stage == "train-detector", timeout=WAIT_MS
    )
    qtbot.waitUntil(lambda: "of 400" in view.sentence.text(), timeout=WAIT_MS)


def _compare_and_decide(
    panel: TuneDetectorPanel, detect: DetectPanel, run: Run, viewer: ViewerModel, qtbot: QtBot
) -> None:
    results = panel.runs.view.results
    qtbot.waitUntil(lambda: results.images.count() == 1, timeout=WAIT_MS)
    assert results.table.rowCount() >= 3
    assert "It was ended after" in results.verdict.text()
    n_before = len(viewer.layers)
    results.compare.click()
    made = {layer.name.split(" (")[0]: layer for layer in viewer.layers[n_before:]}
    held_out = results.images.currentText()
    assert list(made) == [f"held out: {held_out}", "annotated", "found by the old", "found by the new"]
    truth, old, new = (made[name] for name in ("annotated", "found by the old", "found by the new"))
    assert made[f"held out: {held_out}"].data.shape == (SIDE_PX, SIDE_PX, 3)
    assert not np.array_equal(old.edge_color[0], new.edge_color[0])
    assert f"Of {truth.nshapes} annotated cells" in results.of_image.text()
    results.compare.click()
    assert len(viewer.layers) == n_before + 4

    panel.runs.view.buttons["accept"].click()
    assert detect.model.value() == str(run.folder / "bundle.safetensors")
    assert len(viewer.layers) == n_before
    learned = load_bundle(run.folder / "bundle.safetensors")
    starter = load_bundle(None)
    assert learned.scorer is not None
    assert learned.card["detector"]["n_images"] == 1
    assert learned.backbone == starter.backbone
    viewer.layers.selection.active = next(layer for layer in viewer.layers if isinstance(layer, Image))
    with qtbot.waitSignal(detect.detected, timeout=WAIT_MS) as found:
        detect.run()
    assert found.args[0].nshapes > 10
    panel.runs.view.buttons["back"].click()
    assert detect.model.value() is None


def test_what_is_too_little_is_refused_in_a_sentence() -> None:
    one, other = TrainingImage("a.png", "anna", 12, 3), TrainingImage("b.png", "anna", 9, 1)
    assert refusal([], is_folder=False).startswith("No annotated image yet")
    assert "holds no annotated image" in refusal([], is_folder=True)
    assert "no cell in these images" in refusal([TrainingImage("a.png", "anna", 0)], is_folder=False)
    assert "add the corrected image of a second patient" in refusal([one], is_folder=False)
    assert "All images are of the patient 'anna'" in refusal([one, other], is_folder=False)
    third = TrainingImage("c.png", "berta", 9)
    assert refusal([one, other, third], is_folder=False) == ""
    assert [text.split(":")[0] for text in weak_points([one, other, third])] == ["3 images are few"]
    assert "2 of the images" in hold_out_words([one, third] * 5, 0.2)
    assert hold_out_words([one, third], 0.0).endswith(
        "Nothing is held out, so old and new cannot be compared."
    )


def test_a_folder_is_read_and_what_it_lacks_is_said(
    viewer: ViewerModel, real_worker: Worker, own_files: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    panel = _panel(qtbot, viewer, real_worker, tmp_path / "state")
    page = panel.prepare
    page.folder.setValue(tmp_path / "absent")
    qtbot.waitUntil(lambda: page._task is None, timeout=WAIT_MS)
    assert str(tmp_path / "absent") in page.why.text()
    assert not page.start.isEnabled()
