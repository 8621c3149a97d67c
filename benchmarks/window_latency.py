"""Delay of the window's event loop while a training runs and its curves are drawn.

Usage: python -m benchmarks.window_latency [--seconds 20] [--cohort COHORT] [--kills 3]

A timer beats every 5 ms in an offscreen window that shows the Train panel: first while nothing runs, then
while a training of the recommended model runs in its process and its curves are drawn. Figures: the median,
the 95th percentile and the largest delay of a beat, in milliseconds; then how long a click on Cancel takes to
end the process, that Resume goes on from the checkpoint it left, and how long the panel takes to say that the
process was killed (SIGKILL). Run it on a quiet machine; it takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from napari.components import ViewerModel
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from napari_amil.core.base.events import PROCESS_FILE
from napari_amil.core.base.process import find_process
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.plugin.panels.train import TrainPanel
from napari_amil.plugin.training.run_commands import TrainingCommand
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.window.work import Worker

_BEAT_MS = 5
_EPOCHS = 5000
_PATIENCE_S = 120.0


def delays(seconds: float) -> np.ndarray:
    """Return by how many milliseconds each beat of the next ``seconds`` came late.

    A loop of its own is run: to quit the application's would close its windows, which then draw nothing.
    """
    loop = QEventLoop()
    times: list[float] = []
    timer = QTimer()
    timer.setInterval(_BEAT_MS)
    timer.timeout.connect(lambda: times.append(time.perf_counter()))
    timer.start()
    end = QTimer()
    end.setSingleShot(True)
    end.timeout.connect(loop.quit)
    end.start(int(1000 * seconds))
    loop.exec()
    timer.stop()
    return np.maximum(np.diff(times) * 1000 - _BEAT_MS, 0)


def report_delays(name: str, late: np.ndarray) -> dict[str, float]:
    """Print and return the figures of one phase."""
    found = {
        "median_ms": float(np.median(late)),
        "p95_ms": float(np.percentile(late, 95)),
        "max_ms": float(late.max()),
    }
    print(f"{name:28} " + "  ".join(f"{key} {value:7.1f}" for key, value in found.items()), flush=True)
    return found


def wait(is_so: Callable[[], bool], every_s: float = 0.02) -> float:
    """Let the window work until something is so, and return the seconds that took.

    Raises
    ------
    TimeoutError
        If it is not so within two minutes.
    """
    start = time.perf_counter()
    while not is_so():
        if time.perf_counter() - start > _PATIENCE_S:
            raise TimeoutError(f"The window waited {_PATIENCE_S:.0f} s in vain.")
        delays(every_s)
    return time.perf_counter() - start


def is_gone(process: psutil.Process) -> bool:
    """Return whether a process is over."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def cancelled(panel: TrainPanel) -> float:
    """Return the seconds from a click on Cancel until the process is gone."""
    run = panel.runs.chosen()
    child = find_process(run.folder / PROCESS_FILE)
    panel.runs.view.buttons["cancel"].click()
    seconds = wait(lambda: is_gone(child))
    wait(lambda: run.status().state == "cancelled")
    return seconds


def resumed(panel: TrainPanel) -> tuple[int, int]:
    """Go on with the cancelled run; return its last epoch before and the first after."""
    run, button = panel.runs.chosen(), panel.runs.view.buttons["resume"]
    wait(button.isVisible)
    before = max(run.log.now.epochs)
    time_before = run.log.now.times[before]
    button.click()
    wait(lambda: run.log.now.times[max(run.log.now.epochs)] > time_before)
    first = min(epoch for epoch, noted in run.log.now.times.items() if noted > time_before)
    return before, first


def kill_latency(panel: TrainPanel) -> float:
    """Return the seconds from a SIGKILL of the process until the panel says what happened."""
    child = find_process(panel.runs.chosen().folder / PROCESS_FILE)
    child.kill()
    return wait(lambda: "ended from outside" in panel.runs.view.sentence.text())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure an idle window and one with a training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--cohort", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    _application = QApplication.instance() or QApplication([])  # held, or it is gone at once
    with tempfile.TemporaryDirectory() as folder:
        cohort = options.cohort or write_synthetic_cohort(
            Path(folder, "cohort"), SynthCohortSettings(patients=4)
        )
        worker = Worker(["sleep", "100000"])
        panel = TrainPanel(ViewerModel(), worker, RunRegistry(Path(folder)))
        panel.show()
        found = {"idle": report_delays("nothing runs", delays(options.seconds))}
        settings = RunSettings().changed({"training": {"cell_epochs": _EPOCHS}})
        panel.start(TrainingCommand(cohort, Path(folder, "run"), settings))
        run = panel.runs.chosen()
        while run.log.now is None or len(run.log.now.epochs) < 2:
            delays(1.0)
        assert panel.runs.view.curves.isVisible()
        found["training"] = report_delays("a training runs", delays(options.seconds))
        found["epochs"] = len(run.log.now.epochs)
        found["cancel_s"] = cancelled(panel)
        print(f"cancelled in {found['cancel_s']:.2f} s", flush=True)
        before, first = resumed(panel)
        print(f"resumed with epoch {first} after epoch {before}, from the checkpoint", flush=True)
        found["kills_s"] = []
        for number in range(options.kills):
            if number:
                resumed(panel)
            found["kills_s"].append(kill_latency(panel))
        print(f"killed {options.kills} times, reported within {max(found['kills_s']):.2f} s")
        panel.close()
        worker.close()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
