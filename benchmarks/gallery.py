"""Time of the gallery and of colouring many cells, in a window that nobody sees.

Usage: python benchmarks/gallery.py [--cells 100000] [--images 50] [--boxes 10000]

A made-up cohort is written as ``napari-amil score --out`` writes one (a table with 60 columns) and opened in
the Gallery panel. Told are the time until the cells are shown, the longest that the event loop was held, a
change of the order, a filter, the worst of many pages that are scrolled to (painted, without and with their
thumbnails), and how long cells as shapes, boxes and dots take to be coloured anew. The platform is Qt's
``offscreen``, unless ``QT_QPA_PLATFORM`` names another.
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
from napari.layers import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from skimage.io import imsave

from napari_amil.core.detection.select import Candidates
from napari_amil.core.types import Cells
from napari_amil.plugin.colour.colours import ColourScale
from napari_amil.plugin.colour.overview import make_dots, update_dots
from napari_amil.plugin.gallery import GalleryPanel
from napari_amil.plugin.layers.boxes import make_boxes, update_boxes
from napari_amil.plugin.layers.layers import make_layer, set_scores, show_scale
from napari_amil.plugin.layers.rows import CellRecord

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
    parser.add_argument("--boxes", type=int, default=10_000)
    options = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(Path(folder), options.cells, options.images)
        gallery(application, Path(folder, "scored"), options.cells)
    colouring(options.boxes)


def write_cohort(root: Path, n_cells: int, n_images: int) -> None:
    """Write images and the tables that scoring them would leave."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "scored").mkdir()
    for number in range(n_images):
        imsave(root / "images" / f"{number}.png", rng.integers(0, 255, (480, 640, 3), np.uint8))
    y, x = rng.uniform(0, 480 - CELL_PX, n_cells), rng.uniform(0, 640 - CELL_PX, n_cells)
    table = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in rng.integers(0, n_images, n_cells)],
            "cell_id": np.arange(1, n_cells + 1),
        }
    )
    table = table.assign(bag=table["image"], y0=y, x0=x, y1=y + CELL_PX, x1=x + CELL_PX, status="scored")
    scores = pd.DataFrame(
        rng.normal(size=(n_cells, N_MEASUREMENTS)), columns=[f"morph_m{i}" for i in range(N_MEASUREMENTS)]
    )
    table = table.assign(anomaly=rng.gamma(3, 2, n_cells), anomaly_q=rng.uniform(size=n_cells))
    pd.concat([table, scores], axis=1).to_csv(root / "scored" / "cells.csv", index=False)


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


def colouring(n_cells: int) -> None:
    """Colour many cells anew, as shapes, boxes and dots."""
    side = int(np.ceil(np.sqrt(n_cells)))
    rows, columns = np.divmod(np.arange(n_cells), side)
    middles = CELL_PX * (np.stack([rows, columns], axis=1) + 0.5)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = 0.4 * CELL_PX * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    outlines = tuple((middle + ring).astype(np.float32) for middle in middles)
    boxes = np.stack([np.concatenate([o.min(axis=0), o.max(axis=0)]) for o in outlines])
    image = Image(np.zeros((side * CELL_PX, side * CELL_PX, 3), np.uint8), rgb=True)
    cells = Cells(boxes, outlines)
    record = CellRecord(str(image.unique_id), "field", (), image.data.shape[:2])
    record.candidates = Candidates.of(cells, float(CELL_PX))
    start = time.perf_counter()
    layer = make_layer(cells, record, image)
    tell(f"{n_cells:,} cells as shapes, made", time.perf_counter() - start)
    anomaly = np.random.default_rng(0).gamma(3, 2, n_cells)
    set_scores(layer, pd.DataFrame({"cell_id": cells.cell_id, "anomaly": anomaly}))
    scales = [ColourScale("anomaly", 0.0, high, "plasma") for high in (20.0, 10.0)]
    show_scale(layer, scales[0])
    tell("  coloured anew", timed(lambda: show_scale(layer, scales[1])))
    for name, make, update in (("boxes", make_boxes, update_boxes), ("dots", make_dots, update_dots)):
        begin = time.perf_counter()
        companion = make(layer)
        tell(f"{n_cells:,} cells as {name}, made", time.perf_counter() - begin)
        tell("  coloured anew", timed(lambda make_it=update, one=companion: make_it(layer, one)))


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
