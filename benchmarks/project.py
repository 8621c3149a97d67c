"""A large project in the window: 500 bags, 100,000 cells; opened, coloured anew, and selected with a lasso.

Usage: QT_QPA_PLATFORM=offscreen python -m benchmarks project [--bags 500] [--cells 100000] [--rounds 5]

Processor seconds of the one process, median of the rounds, since the window works in one thread: they do
not depend on what else the machine does. ``open`` reads the project in a thread and draws the map;
``held`` is the longest that the window was held meanwhile (seconds of the clock; drawing 100,000 points
is most of it); ``colour`` draws it in other colours; ``lasso`` selects a fifth of the cells and draws
them; ``select`` shows a selection that was made elsewhere. The largest resident memory is that of
everything, napari included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

from napari_amil.core.exchange.project import Project, write_project
from napari_amil.core.types import box_outline
from napari_amil.plugin.cohorts.project import open_project_of
from napari_amil.plugin.embedding_map import EmbeddingMap
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.window.work import Worker

_N_MEASURES, _LATENT = 44, 48


def made_up(n_bags: int, n_cells: int) -> Project:
    """Return a project as wide as a real one, with random numbers."""
    rng = np.random.default_rng(0)
    bag = np.sort(rng.integers(n_bags, size=n_cells))
    columns = {"bag": [f"bag {i}" for i in bag], "image": [f"{i}.png" for i in bag]}
    corner = rng.uniform(0, 900, size=(n_cells, 2))
    boxes = np.concatenate([corner, corner + 40], axis=1).astype(np.float32)
    numbers = dict(zip(("y0", "x0", "y1", "x1"), boxes.T, strict=True)) | {"cell_id": np.arange(n_cells) + 1}
    names = ["anomaly", "anomaly_percentile", "anomaly_q", "attention_x_n", "pool_weight"]
    names += [f"morph_{number}" for number in range(_N_MEASURES)]
    scores = {name: rng.uniform(0, 100, n_cells) for name in names}
    label = rng.choice(["control", "ill", "worse"], n_bags)
    known = {"bag": [f"bag {i}" for i in range(n_bags)], "patient": [f"p{i // 3}" for i in range(n_bags)]}
    bags = pd.DataFrame({**known, "label": label, "verdict": label, "n_cells": n_cells // n_bags})
    z = rng.normal(size=(n_cells, _LATENT)).astype(np.float32)
    outlines = tuple(box_outline(box) for box in boxes)
    return Project(pd.DataFrame({**columns, **numbers, **scores}), bags, z, outlines, {"images": {}})


def seconds(panel: EmbeddingMap, action: Callable[[], object]) -> float:
    """Return the processor seconds of an action and of drawing the map afterwards."""
    before = time.process_time()
    action()
    panel.canvas.draw()
    return time.process_time() - before


def open_and_wait(panel: EmbeddingMap, viewer: ViewerModel, folder: str, held: list[float]) -> None:
    """Open a folder, let the event loop run until it is shown, and note how long each turn of it took."""
    state = open_project_of(viewer)
    earlier = state.opened
    panel.open_folder(folder)
    while state.opened is earlier:
        before = time.perf_counter()
        QApplication.processEvents()
        time.sleep(0.001)
        held.append(time.perf_counter() - before)


def main(arguments: Sequence[str]) -> None:
    """Time the window and print a line per action."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=500)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    viewer = ViewerModel()
    worker = Worker()
    panel = EmbeddingMap(viewer, worker)
    panel.resize(500, 700)
    found: dict[str, list[float]] = {"open": [], "held": [], "colour": [], "lasso": [], "select": []}
    with tempfile.TemporaryDirectory() as folder:
        write_project(made_up(given.bags, given.cells), Path(folder), tables=False)
        for number in range(given.rounds):
            held: list[float] = []
            opening = partial(open_and_wait, panel, viewer, folder, held)
            found["open"].append(seconds(panel, opening))
            found["held"].append(max(held))
            panel.colour.setCurrentIndex(0)
            row = panel.colour.findData(("anomaly", "label")[number % 2])
            found["colour"].append(seconds(panel, partial(panel.colour.setCurrentIndex, row)))
            low, high = np.percentile(panel.place, [25 + number, 70], axis=0)
            corners = [tuple(low), (low[0], high[1]), tuple(high), (high[0], low[1])]
            found["lasso"].append(seconds(panel, partial(panel.lasso.onselect, corners)))
            keys = [CellKey(f"{i}.png", i) for i in range(1, 2000 + number)]
            found["select"].append(seconds(panel, partial(selection_of(viewer).choose, keys)))
    for name, times in found.items():
        print(f"{name:8} {statistics.median(times):.2f} s")
    print(f"memory   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at most")
    panel.close()
    worker.close()
    application.processEvents()
