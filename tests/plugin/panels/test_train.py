"""Trainings from the panel, as processes of their own: seen, cancelled, killed, resumed, found again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import psutil
import pytest
import safetensors.torch
import torch
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_amil.core.base.checkpoint import read_checkpoint
from napari_amil.core.base.events import Ended, to_dict
from napari_amil.core.base.process import find_process
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, SynthSettings, write_synthetic_cohort
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.panels.train import TrainPanel
from napari_amil.plugin.training.run_commands import TrainingCommand
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.runs import PROGRAM, Run
from napari_amil.plugin.window.work import Worker

SmallFiles = Callable[[int], AbstractContextManager[None]]
WAIT_MS = 600_000
TINY = {
    "model": {"measurement_columns": 0, "bag_heads": 1, "latent_dim": 4, "width": 4, "orientations": 1},
    "training": {"cell_epochs": 0, "train_encoder_on_bags": True, "max_epochs": 60, "calibration_folds": 0},
}
WINDOW = """
import json, sys
from pathlib import Path
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.run_commands import TrainingCommand
from napari_amil.plugin.window.work import Worker
from napari_amil.plugin.panels.train import TrainPanel
application = QApplication([])
cohort, out, state, settings = sys.argv[1:]
worker = Worker([sys.executable, "-c", "input()"])
panel = TrainPanel(ViewerModel(), worker, RunRegistry(Path(state)))
panel.start(TrainingCommand(Path(cohort), Path(out), RunSettings.parse(json.loads(settings)), device="cpu"))
print(panel.runs.chosen().folder, flush=True)
application.exec()
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell list, which needs no detector."""
    folder = tmp_path_factory.mktemp("train") / "cohort"
    smear = SynthSettings(height=180, width=240, n_cells=16, n_platelets=1)
    return write_synthetic_cohort(folder, SynthCohortSettings(patients=3, samples=1, smear=smear))


@pytest.fixture(scope="module")
def real_worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def panel(qtbot: QtBot, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainPanel:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as here, so that sums are taken in the same order
    return _panel(qtbot, worker, tmp_path)


def _panel(qtbot: QtBot, worker: Worker, tmp_path: Path) -> TrainPanel:
    panel = TrainPanel(ViewerModel(), worker, RunRegistry(tmp_path / "state"))
    qtbot.addWidget(panel)
    panel.show()
    return panel


def _plan(cohort: Path, out: Path) -> TrainingCommand:
    return TrainingCommand(cohort, out, RunSettings.parse(TINY), device="cpu", hold_out_fold=0)


def _n_epochs(run: Run) -> int:
    return len(run.log.now.epochs) if run.log.now is not None else 0


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "bundle.safetensors")


def test_a_training_outlives_a_full_disk_cancel_and_kill_and_ends_with_the_same_weights(
    panel: TrainPanel, cohort: Path, tmp_path: Path, qtbot: QtBot, small_files: SmallFiles
) -> None:
    with small_files(20_000):  # so the child fails like on a full disk: with its first checkpoint
        panel.start(_plan(cohort, tmp_path / "run"))
    run = panel.runs.chosen()
    assert run is not None
    view = panel.runs.view

    def wait(state: str) -> None:
        qtbot.waitUntil(lambda: run.status().state == state, timeout=WAIT_MS)

    wait("failed")
    qtbot.waitUntil(view.buttons["resume"].isVisible, timeout=WAIT_MS)
    assert view.sentence.text().startswith(f"Cannot write '{run.folder / 'checkpoint.safetensors'}': ")
    assert view.sentence.text().endswith("; check the folder and the free space.")
    view.buttons["resume"].click()
    qtbot.waitUntil(lambda: _n_epochs(run) >= 3, timeout=WAIT_MS)
    view.buttons["pause"].click()
    assert run.status().state == "paused"
    assert view.buttons["pause"].text() == "Go on"
    qtbot.waitUntil(lambda: len(view.curves.losses.lines[0].get_xdata()) >= 3, timeout=WAIT_MS)
    child = find_process(run.folder / "process.json")
    assert child is not None
    view.buttons["cancel"].click()
    child.wait(timeout=WAIT_MS / 1000)
    wait("cancelled")
    _, record = read_checkpoint(run.folder / "checkpoint.safetensors")
    before = record["epoch"]
    assert before >= 2

    qtbot.waitUntil(view.buttons["resume"].isVisible, timeout=WAIT_MS)
    view.buttons["resume"].click()
    qtbot.waitUntil(lambda: _n_epochs(run) > before + 1, timeout=WAIT_MS)
    run.pause(True)
    child = find_process(run.folder / "process.json")
    assert child is not None
    os.kill(child.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    wait("interrupted")
    qtbot.waitUntil(lambda: "ended from outside" in view.sentence.text(), timeout=WAIT_MS)

    view.buttons["resume"].click()
    wait("finished")
    same = [str(part).replace(str(run.folder), str(tmp_path / "again")) for part in run.arguments()]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "run.yaml").write_text((run.folder / "run.yaml").read_text())
    done = subprocess.run([*PROGRAM, *same], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, wanted = _weights(run.folder), _weights(tmp_path / "again")
    torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
    scores = [(folder / "bags.csv").read_text() for folder in (run.folder, tmp_path / "again")]
    assert scores[0] == scores[1]
    qtbot.waitUntil(lambda: view.results.tabs.count() == 5, timeout=WAIT_MS)
    assert view.results.table.rowCount() == 3
    _use_the_model(panel, run, qtbot)


def _use_the_model(panel: TrainPanel, run: Run, qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    score = ScorePanel(ViewerModel(), panel.prepare._worker)
    layout = QHBoxLayout(window)
    layout.addWidget(score)
    layout.addWidget(panel)
    panel.runs.view.buttons["use"].click()
    assert score.model.value() == str(run.folder / "bundle.safetensors")
    assert score.model.combo.currentText() == f"{run.folder.parent.name} · run"
    panel.setParent(None)  # it outlives this window


def test_the_ablation_row_of_a_finished_training_is_trained_and_shown(
    panel: TrainPanel, cohort: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    quick = RunSettings.parse(TINY).changed({"training": {"max_epochs": 2}})
    command = TrainingCommand(cohort, tmp_path / "run", quick, device="cpu", hold_out_fold=0)
    training = Run.from_command(command)
    (training.folder / "bundle.safetensors").touch()
    (training.folder / "events.jsonl").write_text(json.dumps(to_dict(Ended())) + "\n")
    panel.runs.add(training)
    panel.pages.setCurrentWidget(panel.runs)
    view = panel.runs.view
    qtbot.waitUntil(view.buttons["row"].isVisible, timeout=WAIT_MS)
    with qtbot.waitSignal(panel.started, timeout=WAIT_MS):
        view.buttons["row"].click()
    run = panel.runs.chosen()
    assert run is not None
    assert run.folder == tmp_path / "run-row-1"
    qtbot.waitUntil(lambda: run.status().state == "finished", timeout=WAIT_MS)
    made = pd.read_csv(run.folder / "table.csv").iloc[0]
    assert (made["row"], made["n_runs"], made["n_folds"], made["epochs"]) == ("recommended", 3, 1, 2)
    qtbot.waitUntil(lambda: view.results.table.rowCount() == 5, timeout=WAIT_MS)
    shown = view.results.table.item(0, 0).text()
    assert shown == f"{made['accuracy']:.3f} ± {made['accuracy_sd']:.3f}"
    assert view.results.sentence.text().startswith("Trained 3 times without the patients of the test, each")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_training_outlives_its_window_and_is_found_again(
    cohort: Path, tmp_path: Path, worker: Worker, qtbot: QtBot
) -> None:
    out, state = tmp_path / "runs" / "alone", tmp_path / "state"
    slow = json.dumps(TINY | {"training": TINY["training"] | {"max_epochs": 5000}})  # type: ignore[operator]
    command = [sys.executable, "-c", WINDOW, *map(str, (cohort, out, state)), slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as window:
        assert window.stdout is not None
        assert window.stdout.readline().strip() == str(out)
        window.kill()
    panel = _panel(qtbot, worker, tmp_path)
    run = panel.runs.chosen()
    assert run is not None
    assert run.folder == out
    assert panel.pages.currentWidget() is panel.runs
    qtbot.waitUntil(lambda: _n_epochs(run) >= 2, timeout=WAIT_MS)
    assert run.status().state == "running"
    assert not psutil.pid_exists(window.pid)
    panel.runs.view.buttons["stop"].click()
    assert run.status().state == "stopping"
    qtbot.waitUntil(lambda: run.status().state == "finished", timeout=WAIT_MS)
    assert run.model() is not None


def test_what_the_command_line_refuses_is_said_in_its_own_words(
    panel: TrainPanel, tmp_path: Path, qtbot: QtBot
) -> None:
    panel.start(_plan(tmp_path / "absent.csv", tmp_path / "run"))
    run = panel.runs.chosen()
    assert run is not None
    qtbot.waitUntil(lambda: not run.status().is_alive, timeout=WAIT_MS)
    assert run.status().state == "failed"
    assert run.status().sentence.startswith(f"'{tmp_path / 'absent.csv'}' cannot be found or is no cohort")


def test_a_cohort_is_shown_checked_measured_and_ready(
    qtbot: QtBot, real_worker: Worker, cohort: Path, tmp_path: Path
) -> None:
    panel = _panel(qtbot, real_worker, tmp_path)
    page = panel.prepare
    assert not page.start.isEnabled()
    with qtbot.waitSignal(page.checked, timeout=WAIT_MS):
        page.cohort.setValue(cohort)
    assert page.control.currentText() == "control"
    names = [page.preview.tree.topLevelItem(row).text(0) for row in range(6)]
    assert names == ["control", "elliptocytosis", "spherocytosis", "Fold 0", "Fold 1", "Fold 2"]
    assert page.preview.sums.text() == "9 bags of 9 patients in 3 classes."
    assert any("control cells, fewer than 10" in text for text in page.problems.texts)
    assert page.start.isEnabled()
    page.form.setValue(RunSettings.parse(TINY))
    page.form.set_test("fold", 1)
    plan = page.plan()
    assert (plan.hold_out_fold, plan.folds, plan.settings) == (1, None, RunSettings.parse(TINY))
    assert not plan.out.exists()
    assert cohort.parent not in plan.out.parents
    page.measure.click()
    qtbot.waitUntil(lambda: page.estimate.text().startswith("About"), timeout=WAIT_MS)
    assert "measured on" in page.estimate.text()


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(
    panel: TrainPanel, cohort: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    panel.start(_plan(cohort, tmp_path / "file" / "run"))
    assert "cannot be written" in panel.prepare.why.text()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("")
    panel.start(_plan(cohort, tmp_path / "full"))
    assert "not an empty folder" in panel.prepare.why.text()
    assert panel.runs.chosen() is None
