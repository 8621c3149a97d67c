"""Processor seconds and memory of the cells of a whole slide as outlines and as dots, without a window.

Usage: python -m benchmarks.slide_cells [--cells 100000]

Zoomed out, more than 3,000 cells in view are shown as dots; the outlines are a layer of their own all the
same. What drawing takes on a screen is not counted.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import psutil
from napari.components import ViewerModel

from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.colour.boxes_and_dots import make_dots, n_in_view
from napari_amil.plugin.layers.cell_layer import make_layer
from napari_amil.plugin.layers.rows import CellRecord

_STEP_PX, _CORNERS = 40, 24
Result = TypeVar("Result")


def made_up_cells(n_cells: int) -> tuple[Cells, int]:
    """Return cells of 24 to 36 pixels in a square, and the side of the square in pixels."""
    rng, columns = np.random.default_rng(0), math.isqrt(n_cells - 1) + 1
    angles = 2 * np.pi * np.arange(_CORNERS) / _CORNERS
    centres = (np.stack(np.divmod(np.arange(n_cells), columns), axis=1) + 0.5) * _STEP_PX
    radii = rng.uniform(12, 18, (n_cells, 1)) * (1 + 0.05 * rng.standard_normal((n_cells, _CORNERS)))
    rays = radii[:, :, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    outlines = (centres[:, None] + rays).astype(np.float32)
    boxes = np.concatenate([outlines.min(axis=1), outlines.max(axis=1)], axis=1)
    ones = np.ones(n_cells, np.float32)
    return Cells(boxes, tuple(outlines), ones, 700 * ones, ones == 0), columns * _STEP_PX


def timed(name: str, action: Callable[[], Result]) -> Result:
    """Do something, print its seconds and the memory after it, and return its result."""
    start = time.process_time()
    result = action()
    memory_gb = psutil.Process().memory_info().rss / 1e9
    print(f"{name:24} {time.process_time() - start:7.2f} s of the processor, {memory_gb:5.2f} GB", flush=True)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Print one row a step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100_000)
    cells, side = made_up_cells(parser.parse_args(arguments).cells)
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((64, 64), np.uint8))
    record = CellRecord("", "slide", (), (side, side))
    record.candidates = Candidates.from_cells(cells, 30.0)
    layer = timed("outlines made", partial(make_layer, record.known, record, image))
    timed("outlines added", partial(viewer.add_layer, layer))
    timed("cells in view counted", partial(n_in_view, viewer, layer))
    dots = timed("dots made", partial(make_dots, layer))
    timed("dots added", partial(viewer.add_layer, dots))
    timed("outlines hidden", partial(setattr, layer, "visible", False))
    timed("outlines shown", partial(setattr, layer, "visible", True))


if __name__ == "__main__":
    main()
