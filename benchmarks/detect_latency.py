"""Delay of the window's event loop while cells are found and scored.

Usage: python -m benchmarks.detect_latency [--image FIELD] [--rounds 3]

A timer beats every 5 ms in an offscreen window with the panels Look at a smear, Cell card and Cell gallery,
while the worker finds and scores the cells of one field (made up unless one is given) and the window
shows them. Told are the median, the 95th percentile and the largest delay of a beat, in milliseconds,
over all rounds but the first, which warms the worker up, and the same of the processor's time that the
window's own thread took between two beats, which other programs hardly lengthen. The aims are 30 ms for the
95th percentile and 200 ms for the largest. Run it on a quiet machine: the worker keeps a core busy.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from skimage.io import imread

from benchmarks.window_latency import report_delays
from napari_amil.plugin.entry.menus import synthetic_smear
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.gallery import GalleryPanel
from napari_amil.plugin.panels.smear import SmearPanel
from napari_amil.plugin.window.user_settings import preference
from napari_amil.plugin.window.work import Worker

_BEAT_MS = 5
_PATIENCE_S = 600


class Way:
    """One way from a field to scored cells, and when each beat of the timer came meanwhile."""

    def __init__(self, smear: SmearPanel) -> None:
        self.smear = smear
        self.is_done, self.problem = False, ""
        smear.finished.connect(self._on_finished)
        smear.errored.connect(self._on_errored)

    def go(self, application: QApplication) -> np.ndarray:
        """Return ``(n_beats, 2)``: how many ms each beat came late, and the ms of the processor before it."""
        self.is_done = False
        times: list[tuple[float, float]] = []
        timer = QTimer()
        timer.timeout.connect(lambda: times.append((time.perf_counter(), time.thread_time())))
        timer.start(_BEAT_MS)
        self.smear.run()
        end = time.perf_counter() + _PATIENCE_S
        while not self.is_done and time.perf_counter() < end:
            application.processEvents()
            time.sleep(0.0005)
        settle = time.perf_counter() + 1.0  # the gallery and the overlays follow a moment later
        while time.perf_counter() < settle:
            application.processEvents()
            time.sleep(0.0005)
        timer.stop()
        if self.problem or not self.is_done:
            raise RuntimeError(self.problem or "The cells were not scored in ten minutes.")
        return np.maximum(np.diff(times, axis=0) * 1000 - (_BEAT_MS, 0), 0)

    def _on_finished(self, _: object) -> None:
        self.is_done = True

    def _on_errored(self, problem: str) -> None:
        self.problem, self.is_done = problem, True


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure some ways from a field to scored cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    preference("correct", "autosave", True)  # reads every manifest, as napari does when it starts
    viewer = ViewerModel()
    pixels = imread(options.image) if options.image else synthetic_smear()[0][0]
    viewer.add_image(pixels, rgb=True, name="field")
    worker = Worker()
    smear = SmearPanel(viewer, worker)
    panels = [smear, CellCard(viewer, worker), GalleryPanel(viewer)]
    for panel in panels:
        panel.resize(400, 700)
        panel.show()
    way = Way(smear)
    way.go(application)
    late = np.concatenate([way.go(application) for _ in range(options.rounds)])
    layer = smear.score.cells.layer()
    print(f"{layer.nshapes} cells, {options.rounds} rounds")
    report_delays("finding and scoring cells", late[:, 0])
    report_delays("processor of the window", late[:, 1])
    for panel in panels:
        panel.close()
    worker.close()


if __name__ == "__main__":
    main()
