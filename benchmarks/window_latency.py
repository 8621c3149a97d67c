"""How long a click would wait while a training runs: the event loop of the window, with live curves.

Usage: python -m benchmarks.window_latency [--seconds 20] [--cohort COHORT]

A timer beats every 5 ms in an offscreen window that shows the Train panel: first while nothing runs, then
while a training of the recommended model runs in its process and its curves are drawn. Told are the median,
the 95th percentile and the largest delay of a beat, in milliseconds; then how long a click on Cancel takes to
end the process. Run it on a quiet machine; it takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.settings import RunSettings
from napari_amil.plugin.train import TrainPanel
from napari_amil.plugin.training.plans import Plan
from napari_amil.plugin.training.process import find_process
from napari_amil.plugin.training.run_registry import RunRegistry
from napari_amil.plugin.window.work import Worker

_BEAT_MS = 5
_EPOCHS = 5000


def delays(application: QApplication, seconds: float) -> np.ndarray:
    """Return by how many milliseconds each beat of the next ``seconds`` came late."""
    times: list[float] = []
    timer = QTimer()
    timer.setInterval(_BEAT_MS)
    timer.timeout.connect(lambda: times.append(time.perf_counter()))
    timer.start()
    end = QTimer()
    end.setSingleShot(True)
    end.timeout.connect(application.quit)
    end.start(int(1000 * seconds))
    application.exec()
    timer.stop()
    return np.maximum(np.diff(times) * 1000 - _BEAT_MS, 0)


def told(name: str, late: np.ndarray) -> dict[str, float]:
    """Print and return the figures of one phase."""
    found = {
        "median_ms": float(np.median(late)),
        "p95_ms": float(np.percentile(late, 95)),
        "max_ms": float(late.max()),
    }
    print(f"{name:28} " + "  ".join(f"{key} {value:7.1f}" for key, value in found.items()), flush=True)
    return found


def cancelled(panel: TrainPanel, application: QApplication) -> float:
    """Return the seconds from a click on Cancel until the process is gone."""
    child = find_process(panel.runs.chosen().folder / "process.json")
    start = time.perf_counter()
    panel.runs.view.buttons["cancel"].click()
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        delays(application, 0.02)
    seconds = time.perf_counter() - start
    while panel.runs.chosen().status().state != "cancelled":
        delays(application, 0.1)
    delays(application, 0.5)
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure an idle window and one with a training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    with tempfile.TemporaryDirectory() as folder:
        cohort = options.cohort or write_synthetic_cohort(
            Path(folder, "cohort"), SynthCohortSettings(patients=4)
        )
        worker = Worker(["sleep", "100000"])
        panel = TrainPanel(ViewerModel(), worker, RunRegistry(Path(folder)))
        panel.show()
        found = {"idle": told("nothing runs", delays(application, options.seconds))}
        settings = RunSettings().changed({"training": {"cell_epochs": _EPOCHS}})
        panel.start(Plan(cohort, Path(folder, "run"), settings))
        run = panel.runs.chosen()
        while run.log.now is None or len(run.log.now.epochs) < 2:
            delays(application, 1.0)
        found["training"] = told("a training runs", delays(application, options.seconds))
        found["epochs"] = len(run.log.now.epochs)
        found["cancel_s"] = cancelled(panel, application)
        print(f"cancelled in {found['cancel_s']:.2f} s")
        panel.close()
        worker.close()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
