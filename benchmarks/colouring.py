"""Time to recolour many cells: 10,000 outlines, as many boxes, and 100,000 dots.

Usage: python -m benchmarks colouring [--boxes 10000] [--dots 100000] [--rounds 7]

The median of some rounds, each on a scale that differs from the last one, in layers that no window draws;
the baseline is napari's own way of setting the colours of shapes. The aims are 0.25 s for the boxes and
0.3 s for the dots.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pandas as pd
from napari.layers import Image, Points, Shapes
from qtpy.QtWidgets import QApplication

from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.colour.boxes_and_dots import make_boxes, update_boxes
from napari_amil.plugin.layers.cell_layer import make_layer, set_scores, show_scale
from napari_amil.plugin.layers.colour_scale import ColourScale
from napari_amil.plugin.layers.rows import CellRecord

CELL_PX = 30
SCALES = tuple(ColourScale("anomaly", 0.0, high, "plasma") for high in (20.0, 10.0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every time in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=10_000)
    parser.add_argument("--dots", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    application = QApplication.instance() or QApplication([])
    start = time.perf_counter()
    layer = scored_layer(options.boxes)
    tell(f"{options.boxes:,} outlines, made", time.perf_counter() - start)
    scales = cycle(SCALES)
    tell("  coloured anew", median(lambda: show_scale(layer, next(scales)), options.rounds))
    tell("  in napari's own way", median(lambda: naparis_way(layer, next(scales)), options.rounds))
    boxes = make_boxes(layer)
    times = []
    for _ in range(options.rounds):
        show_scale(layer, next(scales))
        times.append(median(lambda: update_boxes(layer, boxes), 1))
    tell(f"{options.boxes:,} boxes, coloured anew", statistics.median(times))
    values = np.random.default_rng(0).gamma(3, 2, options.dots)
    dots = Points(np.random.default_rng(0).uniform(0, 9999, (options.dots, 2)), size=20, border_width=0)

    def colour_dots() -> None:
        dots.face_color = next(scales).rgba(values)

    tell(f"{options.dots:,} dots, coloured anew", median(colour_dots, options.rounds))
    application.processEvents()


def scored_layer(n_cells: int) -> Shapes:
    """Return a layer of round cells in rows and columns, with random scores."""
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
    record.candidates = Candidates.from_cells(cells, float(CELL_PX))
    layer = make_layer(cells, record, image)
    anomaly = np.random.default_rng(0).gamma(3, 2, n_cells)
    set_scores(layer, pd.DataFrame({"cell_id": cells.cell_id, "anomaly": anomaly}))
    return layer


def naparis_way(layer: Shapes, scale: ColourScale) -> None:
    """Colour the shapes by the setters of the layer."""
    values = layer.features["anomaly"].to_numpy()
    layer.edge_color, layer.face_color = scale.edge_rgba(values), scale.face_rgba(values)


def median(action: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds that ``action`` takes."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def tell(what: str, seconds: float) -> None:
    """Print one line."""
    print(f"{what:48} {seconds:8.3f} s", flush=True)


if __name__ == "__main__":
    main()
