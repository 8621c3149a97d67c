"""The window with each panel in turn and a real smear: ``python docs/panel_windows.py OUT``.

Each panel is shown as a user meets it, in a window of 1366 x 768 pixels, once in each theme that is asked
for; the cells are found and scored by the panels themselves. ``--scored FOLDER`` names what
``napari-amil score`` has written, for the gallery, the cohort, the map and Explore; without it these show the
open image, or what they say when nothing is open.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
from napari.settings import get_settings
from qtpy.QtWidgets import QApplication, QDockWidget
from skimage.io import imsave

from napari_amil.core.cell_types.classifier import FEWEST
from napari_amil.core.cell_types.named_cells import named_rows
from napari_amil.core.cohort.samples import DATA_VARIABLE, REAL_FILE, real_field
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.layers.cell_names import name_open_cells, open_project, type_keys
from napari_amil.plugin.layers.selection import CellKey, keys_of, selection_of
from napari_amil.plugin.window.docks import dock_of, open_panel
from napari_amil.plugin.window.panel import SMEAR_TITLE
from napari_amil.plugin.window.work import shared_worker

SIZE = (1366, 768)
PANELS = {
    "detect": SMEAR_TITLE,
    "score": SMEAR_TITLE,
    "card": "Cell card",
    "verdict": "Verdict",
    "correct": "Correct cells",
    "types": "Name cell types",
    "gallery": "Cell gallery",
    "calibrate": "Calibrate on my controls",
    "arrange": "Make a cohort of loose images",
    "train": "Train a model",
    "tune": "Fine-tune the detector",
    "cohort": "Cohort",
    "map": "Embedding map",
    "explore": "Explore",
}
"""In this order, since the last three open images of their own."""
_PATIENCE_S = 600
_SETTLE_S = 1.2


class Window:
    """A real window whose panels are opened one by one, each alone on the right."""

    def __init__(self, field: Path | None, scored: Path | None) -> None:
        self.scored = scored
        self.viewer = napari.Viewer(show=False)
        self.viewer.window.resize(*SIZE)
        self.viewer.window.show()
        self.viewer.window.resize(*SIZE)
        if field is not None:
            self.viewer.open(str(field), plugin="napari")
        self.panels: dict[str, Any] = {}
        self._dock: QDockWidget | None = None

    def open(self, name: str) -> Any:  # noqa: ANN401 - a panel of any kind
        """Show one panel, and hide the one before."""
        if self._dock is not None:
            self._dock.hide()
        panel = open_panel(self.viewer, PANELS[name])
        self._dock = dock_of(panel)
        self.panels[name] = getattr(panel, name) if PANELS[name] == SMEAR_TITLE else panel
        if PANELS[name] == SMEAR_TITLE:
            panel.pages.setCurrentWidget(self.panels[name])
        if open_results_of(self.viewer).folder is None:
            self.rest(0.3)
            self.viewer.reset_view()
        getattr(self, f"_set_{name}", lambda: None)()
        self.rest(_SETTLE_S)
        return self.panels[name]

    def take(self, path: Path) -> None:
        """Save a picture of the whole window."""
        self.rest(0.5)
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(path, flush=True)  # noqa: T201

    def rest(self, seconds: float) -> None:
        """Let the window work for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.02)

    def wait(self, is_done: Callable[[], bool]) -> None:
        """Let the window work until something is done."""
        end = time.monotonic() + _PATIENCE_S
        while not is_done():
            if time.monotonic() > end:
                raise TimeoutError("The window was not ready in ten minutes.")
            self.rest(0.05)

    def _press(self, panel: Any, signal: Any) -> None:  # noqa: ANN401
        heard: list[object] = []
        signal.connect(heard.append)
        panel.errored.connect(heard.append)
        panel.job.button.click()
        self.wait(lambda: bool(heard))

    def _set_detect(self) -> None:
        self._press(self.panels["detect"], self.panels["detect"].detected)

    def _set_score(self) -> None:
        score = self.panels["score"]
        self._press(score, score.scored)
        layer = score.cells.layer()
        anomaly = layer.features["anomaly"].where(~layer.features["touches_border"])
        key = keys_of(layer, [int(anomaly.to_numpy().argsort()[-1 - int(anomaly.isna().sum())])])[0]
        selection_of(self.viewer).choose([key], key)

    def _set_gallery(self) -> None:
        gallery = self.panels["gallery"]
        if self.scored is not None:
            gallery.source.setValue(self.scored)
        self.wait(lambda: not gallery.reading_folder)
        gallery.grid.grab()
        tile = gallery._tile  # noqa: SLF001
        self.wait(lambda: all(tile(p).picture or tile(p).missing for p in gallery.grid.visible()))

    def _set_types(self) -> None:
        """Give every second whole cell the name of the publishers, and let the others be typed."""
        table = Path(os.environ.get(DATA_VARIABLE, ""), "chula_slides", "cells.csv")
        if not table.is_file():
            return
        cells = open_project(self.viewer.layers).cells
        published = pd.read_csv(table)
        published = published[published["image"] == f"images/{REAL_FILE}"]
        names, _ = named_rows(cells, published.assign(image=cells["image"].iloc[0]))
        whole = np.flatnonzero((names != "") & ~cells["touches_border"].to_numpy(bool))[::2]
        for name, number in Counter(names[whole]).most_common():
            if number < FEWEST:
                continue
            type_keys(self.viewer).add(str(name))
            own = cells.iloc[whole[names[whole] == name]]
            keys = [
                CellKey(image, cell_id, "")
                for image, cell_id in zip(own["image"], own["cell_id"], strict=True)
            ]
            name_open_cells(self.viewer, keys, str(name))
        panel, heard = self.panels["types"], []
        panel.typed.connect(heard.append)
        panel.run()
        self.wait(lambda: bool(heard))

    def _set_cohort(self) -> None:
        if self.scored is not None:
            cohort = self.panels["cohort"]
            cohort.results.setText(str(self.scored))
            cohort.open_results()
            self.wait(lambda: cohort.view.isVisible())
            cohort.view.clicked.emit(cohort.rows.index(0, 0))

    def _open_scored(self, name: str) -> None:
        project = open_results_of(self.viewer)
        if self.scored is not None and project.folder is None:
            self.panels[name].open_folder(str(self.scored))
            self.wait(lambda: project.project is not None)

    def _set_map(self) -> None:
        self._open_scored("map")

    def _set_explore(self) -> None:
        self._open_scored("explore")

    def _set_arrange(self) -> None:
        arrange = self.panels["arrange"]
        arrange.tree.add_paths([Path(layer.source.path) for layer in self.viewer.layers if layer.source.path])
        arrange.out.setValue("~/cohorts/smears")  # not the home folder of whoever makes the picture

    def close(self) -> None:
        """Close the window and end its worker."""
        shared_worker().close()
        self.viewer.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Save a picture of every panel that is asked for, in every theme."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--scored", type=Path, help="what napari-amil score has written")
    parser.add_argument("--themes", nargs="+", default=["dark", "light"])
    parser.add_argument("--panels", nargs="+", choices=list(PANELS), default=list(PANELS))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        get_settings(Path(folder, "settings.yaml"))  # the settings of whoever runs this stay as they are
        os.environ["XDG_CONFIG_HOME"] = folder
        field = Path(folder, "smears", REAL_FILE).with_suffix(".png")
        field.parent.mkdir()
        imsave(field, real_field(), check_contrast=False)
        window = Window(field, options.scored)
        for name in PANELS:
            if name not in options.panels and name not in ("detect", "score"):
                continue
            window.open(name)
            for theme in options.themes if name in options.panels else ():
                window.viewer.theme = theme
                window.take(options.out / f"{name}-{theme}.png")
        window.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
