"""A large project in the window: 500 bags, 100,000 cells; opened, recoloured, and selected with a lasso.

Usage: QT_QPA_PLATFORM=offscreen python -m benchmarks project [--bags 500] [--cells 100000] [--rounds 3]

The Cohort panel, the Explore panel and the Embedding map are open, and one image with its cells.
Processor seconds of the one process, median of the rounds, since the window works in one thread: they do
not depend on what else the machine does. ``open`` reads the project in a thread and fills every panel;
``held`` is the longest that the window was held meanwhile (seconds of the clock; drawing 100,000 points
is most of it); ``colour`` draws the map in other colours; ``lasso`` selects a fifth of the cells, draws them
in the map and highlights those of the open image; ``select`` shows a selection that was made elsewhere. The
memory is the largest resident memory of everything, napari included; beside each figure stands what is
wanted.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_amil.core.base.types import box_outline
from napari_amil.core.exchange.project import Project, write_project
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels.cohort import CohortPanel
from napari_amil.plugin.panels.embedding_map import EmbeddingMap
from napari_amil.plugin.panels.explore import ExplorePanel
from napari_amil.plugin.window.work import Worker

WANTED = {"open": 3.0, "colour": 0.3, "lasso": 1.0, "select": 1.0}
"""Seconds."""
WANTED_GIB = 2.0
_N_MEASURES, _LATENT, _SIDE_PX = 44, 48, 960


def made_up(n_bags: int, n_cells: int, image: Path) -> Project:
    """Return a project as wide as a real one, with random numbers; every bag has the same ``image``."""
    rng = np.random.default_rng(0)
    bag = np.sort(rng.integers(n_bags, size=n_cells))
    columns = {"bag": [f"bag {i}" for i in bag], "image": [f"{i}.png" for i in bag]}
    corner = rng.uniform(0, _SIDE_PX - 60, size=(n_cells, 2))
    boxes = np.concatenate([corner, corner + 40], axis=1).astype(np.float32)
    numbers = dict(zip(("y0", "x0", "y1", "x1"), boxes.T, strict=True)) | {"cell_id": np.arange(n_cells) + 1}
    names = ["anomaly", "anomaly_percentile", "attention_x_n", "pool_weight"]
    names += [f"morph_{number}" for number in range(_N_MEASURES)]
    scores = {name: rng.uniform(0, 100, n_cells) for name in names}
    scores["anomaly_q"] = rng.uniform(0, 1, n_cells)
    label = rng.choice(["control", "ill", "worse"], n_bags)
    known = {"bag": [f"bag {i}" for i in range(n_bags)], "patient": [f"p{i // 3}" for i in range(n_bags)]}
    bags = pd.DataFrame({**known, "label": label, "verdict": label, "n_cells": n_cells // n_bags})
    bags["novelty_p"] = rng.uniform(0, 1, n_bags)
    z = rng.normal(size=(n_cells, _LATENT)).astype(np.float32)
    outlines = tuple(box_outline(box) for box in boxes)
    files = {f"{i}.png": [str(image), 0] for i in range(n_bags)}
    card = {"images": files, "control": "control", "classes": ["control", "ill", "worse"]}
    return Project(pd.DataFrame({**columns, **numbers, **scores}), bags, z, outlines, card)


def seconds(panel: EmbeddingMap, action: Callable[[], object]) -> float:
    """Return the processor seconds of an action and of drawing the map afterwards."""
    before = time.process_time()
    action()
    panel.canvas.draw()
    return time.process_time() - before


def open_and_wait(panel: EmbeddingMap, viewer: ViewerModel, folder: str, held: list[float]) -> None:
    """Open a folder, let the event loop run until it is shown, and note how long each turn of it took."""
    state = open_results_of(viewer)
    earlier = state.opened
    panel.open_folder(folder)
    while state.opened is earlier:
        before = time.perf_counter()
        QApplication.processEvents()
        time.sleep(0.001)
        held.append(time.perf_counter() - before)


def measured(viewer: ViewerModel, panel: EmbeddingMap, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every action in every round."""
    found: dict[str, list[float]] = {name: [] for name in ("open", "held", "colour", "lasso", "select")}
    for number in range(rounds):
        held: list[float] = []
        opening = partial(open_and_wait, panel, viewer, str(folder), held)
        found["open"].append(seconds(panel, opening))
        found["held"].append(max(held))
        open_results_of(viewer).show_cell(number)
        panel.colour.setCurrentIndex(0)
        row = panel.colour.findData(("anomaly", "label")[number % 2])
        found["colour"].append(seconds(panel, partial(panel.colour.setCurrentIndex, row)))
        low, high = np.percentile(panel.place, [25 + number, 70], axis=0)
        corners = [tuple(low), (low[0], high[1]), tuple(high), (high[0], low[1])]
        found["lasso"].append(seconds(panel, partial(panel.lasso.onselect, corners)))
        if not cell_layers(viewer.layers)[0].selected_data:
            sys.exit("The lasso selected no cell of the open image.")
        keys = [CellKey(f"{i}.png", i, f"bag {i}") for i in range(1, 2000 + number)]
        found["select"].append(seconds(panel, partial(selection_of(viewer).choose, keys)))
    return found


def main(arguments: Sequence[str]) -> None:
    """Time the window and print a line per action."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bags", type=int, default=500)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    viewer, worker = ViewerModel(), Worker()
    panel = EmbeddingMap(viewer, worker)
    others = [CohortPanel(viewer, worker), ExplorePanel(viewer, worker)]
    panel.resize(500, 700)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = np.random.default_rng(0).integers(120, 240, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "field.png")
        write_project(made_up(given.bags, given.cells, folder / "field.png"), folder, tables=False)
        found = measured(viewer, panel, folder, given.rounds)
    for action, times in found.items():
        wanted = f" (wanted: {WANTED[action]:.1f})" if action in WANTED else ""
        print(f"{action:8} {statistics.median(times):.2f} s{wanted}")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"memory   {used:.2f} GiB at most (wanted: {WANTED_GIB:.1f})")
    for widget in (*others, panel):
        widget.close()
    worker.close()
    application.processEvents()
