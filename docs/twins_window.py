"""Cells redrawn as control cells in the real window: ``python docs/twins_window.py CHULA_SLIDES BUNDLE OUT``.

BUNDLE is what ``napari-amil train-anomaly CHULA_SLIDES/bags.csv --hold-out-fold 2`` has written. For each
kind the field of fold 2 with the most labelled cells of it is opened in a window of 1366 x 768 pixels; the
panels find, score and redraw its cells, the difference lies over the field, and the card shows that labelled
cell of the kind whose anomaly by the network is the median. OUT gets ``twins-<kind>.png``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from napari.layers import Shapes
from napari.settings import get_settings
from panel_windows import Window

from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.layers.cell_layer import cells_of
from napari_amil.plugin.layers.selection import keys_of, selection_of

KINDS = ("spherocyte", "target", "stomatocyte", "hypochromia")
_TEST_FOLD, _CELLS_SHOWN = 2, 8


class Redrawing(Window):
    """The window with the cells of one field, scored by a model with a network that redraws them."""

    def __init__(self, field: Path, bundle: Path, labelled: pd.DataFrame) -> None:
        super().__init__(field, None)
        self.bundle, self.labelled = bundle, labelled

    def _set_score(self) -> None:
        score = self.panels["score"]
        score.model.setValue(str(self.bundle))
        self._press(score, score.scored)

    def redraw(self) -> None:
        """Choose a labelled cell, redraw all of them, and look at it closely."""
        layer = self.panels["score"].cells.layer()
        chosen = self._chosen(layer)
        twin = self.open("card").twin
        key = keys_of(layer, [chosen])[0]
        selection_of(self.viewer).choose([key], key)
        self.rest(0.5)
        heard: list[object] = []
        twin.job.finished.connect(heard.append)
        twin.job.button.click()
        self.wait(lambda: bool(heard))
        box = cells_of(layer).boxes[chosen]
        self.viewer.scene.camera.center = (0, *((box[:2] + box[2:]) / 2))
        self.viewer.scene.camera.zoom = 420 / (_CELLS_SHOWN / 2 * float((box[2:] - box[:2]).max()))
        self.rest(1.0)

    def _chosen(self, layer: Shapes) -> int:
        """Return the row of the labelled cell with the median anomaly by the first network."""
        boxes, features = cells_of(layer).boxes, layer.features
        column = next(
            c for c in features.columns if c.startswith("anomaly_") and f"{c}_p" in features.columns
        )
        y, x = (self.labelled[name].to_numpy()[:, None] for name in ("y", "x"))
        inside = (boxes[:, 0] < y) & (y < boxes[:, 2]) & (boxes[:, 1] < x) & (x < boxes[:, 3])
        rows = np.flatnonzero(inside.any(axis=0) & features[column].notna().to_numpy())
        return int(rows[np.argsort(features[column].to_numpy()[rows])[len(rows) // 2]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Save a picture of the window for every kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the data set chula_slides")
    parser.add_argument("bundle", type=Path, help="model with a network that redraws cells")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if len(options.kinds) > 1:  # a process has one window
        for kind in options.kinds:
            words = [*map(str, (options.folder, options.bundle, options.out)), "--kinds", kind]
            subprocess.run([sys.executable, __file__, *words], check=True)
        return 0
    cells = pd.read_csv(options.folder / "cells.csv")
    cells = cells[cells["fold"] == _TEST_FOLD]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        get_settings(Path(folder, "settings.yaml"))  # the settings of whoever runs this stay as they are
        os.environ["XDG_CONFIG_HOME"] = folder
        (kind,) = options.kinds
        own = cells[cells["cell_type"] == kind]
        image = own["image"].value_counts().index[0]
        window = Redrawing(options.folder / image, options.bundle.resolve(), own[own["image"] == image])
        window.open("detect")
        window.open("score")
        window.redraw()
        window.take(options.out / f"twins-{kind}.png")
        window.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
