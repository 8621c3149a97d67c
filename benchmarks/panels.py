"""Time for a panel to open once napari is up, and how long it blocks the window meanwhile.

Usage: python -m benchmarks panels [--rounds 5]

Each panel is made, shown and drawn once in a window that nobody sees, the way napari opens it from the
menu; the median of some rounds, of which the first also imports the module. The aim is 1 s.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication, QWidget

from napari_amil.plugin.entry.menus import synthetic_smear
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.window.work import Worker

PANELS = {
    "Look at a smear": "smear:SmearPanel",
    "Cell card": "cell_card:CellCard",
    "Verdict": "verdict:VerdictPanel",
    "Cell gallery": "gallery:GalleryPanel",
    "Correct cells": "correct:CorrectPanel",
    "Cohort": "cohort:CohortPanel",
    "Embedding map": "embedding_map:EmbeddingMap",
    "Explore": "explore:ExplorePanel",
    "Train a model": "train:TrainPanel",
    "Calibrate": "calibrate:CalibratePanel",
    "Make a cohort": "arrange:ArrangePanel",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print for every panel the first and the median time in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    viewer = ViewerModel()
    for pixels, attributes, _ in synthetic_smear():
        viewer.add_image(pixels, **attributes)
    worker = Worker([sys.executable, "-P", "-c", "input()"])
    with tempfile.TemporaryDirectory() as folder:
        for name, place in PANELS.items():
            times = [opening(place, viewer, worker, Path(folder)) for _ in range(options.rounds)]
            print(f"{name:16} first {times[0]:.3f} s   median {statistics.median(times):.3f} s", flush=True)
    worker.close()
    application.processEvents()


def opening(place: str, viewer: ViewerModel, worker: Worker, folder: Path) -> float:
    """Return the seconds until one panel is drawn; it is closed again."""
    start = time.perf_counter()
    module, _, kind = place.partition(":")
    make = getattr(importlib.import_module(f"napari_amil.plugin.panels.{module}"), kind)
    extra = {"GalleryPanel": (), "TrainPanel": (worker, RunRegistry(folder))}.get(kind, (worker,))
    panel: QWidget = make(viewer, *extra)
    panel.resize(400, 700)
    panel.show()
    QApplication.processEvents()
    panel.grab()
    seconds = time.perf_counter() - start
    panel.close()
    panel.deleteLater()
    QApplication.processEvents()
    return seconds


if __name__ == "__main__":
    main()
