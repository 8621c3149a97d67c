"""Time of the gallery with a large cohort, in an offscreen window.

Usage: python -m benchmarks gallery [--cells 100000] [--images 50] [--table]

A made-up cohort is written as ``napari-amil score --out`` writes one (60 columns; with ``--table`` as the
table alone, which takes longer to read) and opened in the Gallery panel. Told are the time until the
cells are shown, the longest that the event loop was held meanwhile (aim: 0.2 s), a change of the order, a
filter, the first cell that is opened, and of many pages that are scrolled to how long they take to be
painted, without and with their thumbnails (aim: 0.3 s). The platform is Qt's ``offscreen``, unless
``QT_QPA_PLATFORM`` names another.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from skimage.io import imsave

from napari_amil.core.base.types import box_outline
from napari_amil.core.exchange.project import Project, write_project
from napari_amil.plugin.panels.gallery import GalleryPanel

N_MEASUREMENTS = 50
PAGES = 20
PATIENCE_S = 300
CELL_PX = 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every time in seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--table", action="store_true", help="leave the table alone, without its arrays")
    options = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(Path(folder), options.cells, options.images, table=options.table)
        gallery(application, Path(folder, "scored"), options.cells)


def write_cohort(root: Path, n_cells: int, n_images: int, *, table: bool) -> None:
    """Write images and a scored folder of them: one bag an image."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "scored").mkdir()
    for number in range(n_images):
        imsave(root / "images" / f"{number}.png", rng.integers(0, 255, (480, 640, 3), np.uint8))
    y, x = rng.uniform(0, 480 - CELL_PX, n_cells), rng.uniform(0, 640 - CELL_PX, n_cells)
    names = [f"{i}.png" for i in np.sort(rng.integers(0, n_images, n_cells))]
    columns = {"bag": names, "image": names, "cell_id": np.arange(1, n_cells + 1)}
    boxes = dict(zip(("y0", "x0", "y1", "x1"), (y, x, y + CELL_PX, x + CELL_PX), strict=True))
    scores = {f"morph_m{i}": rng.normal(size=n_cells) for i in range(N_MEASUREMENTS)}
    scores |= {"anomaly": rng.gamma(3, 2, n_cells), "anomaly_q": rng.uniform(size=n_cells)}
    cells = pd.DataFrame({**columns, **boxes, "status": "scored", **scores})
    if table:
        cells.to_csv(root / "scored" / "cells.csv", index=False)
        return
    bags = pd.DataFrame({"bag": [f"{i}.png" for i in range(n_images)], "predicted": "control"})
    outlines = tuple(box_outline(box) for box in cells[list(boxes)].to_numpy(np.float32))
    z = rng.normal(size=(n_cells, 48)).astype(np.float32)
    card = {"root": str(root / "images"), "images": {}}
    write_project(Project(cells, bags, z, outlines, card), root / "scored", tables=False)


def gallery(application: QApplication, folder: Path, n_cells: int) -> None:
    """Open, sort, filter and scroll the gallery."""
    panel = GalleryPanel(ViewerModel())
    panel.resize(420, 700)
    panel.show()
    beats: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start(1)
    start = time.perf_counter()
    panel.source.setValue(folder)
    wait(application, lambda: not panel.reading_folder)
    tell(f"{n_cells:,} cells: table read and shown", time.perf_counter() - start)
    application.processEvents()
    gaps = np.diff(beats)
    tell("  longest hold of the event loop meanwhile", float(gaps.max()))
    timer.stop()
    tell("order turned round", timed(panel.order.direction.toggle))
    tell("sorted by another score", timed(lambda: panel.order.setValue("morph_m7")))
    tell("cell opened with its image", timed(lambda: panel.show_cell(0)))
    panel.filter.text.setText("anomaly > 5 and morph_m3 < 1")
    tell("filtered", timed(panel.filter.text.returnPressed.emit))
    painted, complete = [], []
    for place in np.linspace(0, panel.grid.verticalScrollBar().maximum(), PAGES).astype(int):
        begin = time.perf_counter()
        panel.grid.verticalScrollBar().setValue(int(place))
        panel.grid.grab()
        painted.append(time.perf_counter() - begin)
        wait(application, lambda: all(panel._tile(p).picture for p in panel.grid.visible()))  # noqa: SLF001
        panel.grid.grab()
        complete.append(time.perf_counter() - begin)
    tell(f"page painted, median of {PAGES}", float(np.median(painted)))
    tell("page painted, worst", max(painted))
    tell("page with all thumbnails, median", float(np.median(complete)))
    tell("page with all thumbnails, worst", max(complete))
    panel.close()


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def wait(application: QApplication, is_done: Callable[[], bool]) -> None:
    """Let the event loop run until something is done."""
    end = time.perf_counter() + PATIENCE_S
    while not is_done():
        if time.perf_counter() > end:
            raise TimeoutError("The gallery was not ready in time.")
        application.processEvents()
        time.sleep(0.001)


def tell(what: str, seconds: float) -> None:
    """Print one line."""
    print(f"{what:48} {seconds:8.3f} s", flush=True)


if __name__ == "__main__":
    main()
