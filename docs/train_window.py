"""A window whose Train panel shows a real training, and a picture of it: ``python docs/train_window.py``.

The cohort is made up (three classes, nine patients of each); the network is small, so that it takes a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import napari
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication

from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.panels.train import TrainPanel
from napari_amil.plugin.training.run_commands import TrainingCommand
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.window.work import Worker

SETTINGS = {
    "model": {"width": 8, "orientations": 1, "bag_heads": 1},
    "training": {
        "cell_epochs": 0,
        "train_encoder_on_bags": True,
        "max_epochs": 60,
        "validation_fraction": 0.25,
        "calibration_folds": 0,
    },
}
_DRAWN_EPOCHS = 40
_SETTLE_MS = 2500
_ASK_MS = 100


class Picture(QObject):
    """Starts a training, waits until it is as far as wanted, and takes the picture."""

    def __init__(self, viewer: napari.Viewer, folder: Path, target: Path, *, done: bool) -> None:
        super().__init__()
        self._viewer, self._target, self._done = viewer, target, done
        cohort = folder / "smears" / "bags.csv"
        idle = Worker([sys.executable, "-P", "-c", "input()"])
        self._panel = TrainPanel(viewer, idle, RunRegistry(folder))
        viewer.window.add_dock_widget(self._panel, name="Train a model", area="right")
        image = next(path for path in cohort.parent.rglob("*.png"))
        viewer.open(str(image), plugin="napari")
        settings = RunSettings().changed(SETTINGS)
        out = folder / "smears-runs" / "first"
        self._panel.start(TrainingCommand(cohort, out, settings, hold_out_fold=0))
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_timer)
        self._timer.start(_ASK_MS)

    def _on_timer(self) -> None:
        run = self._panel.runs.chosen()
        assert run is not None
        log = run.log.now
        far = log is not None and len(log.epochs) >= _DRAWN_EPOCHS
        if self._done:
            far = not run.status().is_alive
        elif far:
            run.pause(True)
        if far:
            self._timer.stop()
            self._viewer.reset_view()
            QTimer.singleShot(_SETTLE_MS, self._take)

    def _take(self) -> None:
        run = self._panel.runs.chosen()
        assert run is not None
        if not self._done:
            run.pause(False)
            self._panel.runs.poll()
        self._viewer.screenshot(str(self._target), canvas_only=False, flash=False)
        run.cancel()
        self._viewer.close()
        QApplication.quit()


def main() -> None:
    """Take one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--done", action="store_true", help="wait until the training is over")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        write_synthetic_cohort(Path(folder, "smears"), SynthCohortSettings(patients=9, samples=1))
        viewer = napari.Viewer(show=False)
        viewer.theme = options.theme
        viewer.window.resize(1366, 768)
        viewer.window.show()
        viewer.window.resize(1366, 768)
        picture = Picture(viewer, Path(folder), options.target, done=options.done)
        napari.run()
        del picture


if __name__ == "__main__":
    main()
