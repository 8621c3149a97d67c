"""A window whose detector was fine-tuned, with old and new compared: ``python -m docs.tune_window TARGET``.

The fields are six real ones (Chula RBC-12, below the folder that ``NAPARI_AMIL_DATA`` names), made hard by
``benchmarks/fine_tuning.py``: reduced, blurred and in another stain; their annotations are what the starter
detector finds in the originals. It takes some minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import napari
import numpy as np
from PIL import Image as PillowImage
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication

from benchmarks.fine_tuning import SCALE, hardened, scaled
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.pipeline import Recipe, detect_field, load_bundle, pick_device, read_image
from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.panels.tune_detector import TuneDetectorPanel
from napari_amil.plugin.training.run_commands import DetectorCommand
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.runs import Run

ANNOTATED = "corrected fields"
NUMBERS = (4, 267, 73, 79, 88, 1)
_SETTLE_MS = 4000
_ASK_MS = 250


def annotated_fields(data: Path, out: Path) -> Path:
    """Write the hard fields with their cells beside them."""
    recipe = Recipe.from_bundle(load_bundle(None), None, pick_device("cpu"))
    rng = np.random.default_rng(0)
    out.mkdir(parents=True)
    for number in NUMBERS:
        image = read_image(data / "images" / f"{number}.jpg")
        cells = drain(detect_field(image, recipe)).select(recipe.settings.selection)
        PillowImage.fromarray(hardened(image, rng)).save(out / f"field {number}.png")
        write_geojson(scaled(cells, SCALE), None, out / f"field {number}.geojson")
    return out


class Picture(QObject):
    """Starts a training, waits for its end, compares an image, and takes the picture."""

    def __init__(
        self, viewer: napari.Viewer, begun: DetectorCommand | Run, target: Path, prepare: Path | None
    ) -> None:
        super().__init__()
        self._viewer, self._target, self._prepare = viewer, target, prepare
        folder = begun.folder if isinstance(begun, Run) else begun.out
        self._panel = TuneDetectorPanel(viewer, None, RunRegistry(folder.parent / "state"))
        viewer.window.add_dock_widget(self._panel, name="Fine-tune the detector", area="right")
        annotated = folder.parent.parent / ANNOTATED
        self._panel.prepare.folder.setValue(annotated if annotated.is_dir() else None)
        if isinstance(begun, Run):
            self._panel.runs.add(begun)
            self._panel.pages.setCurrentWidget(self._panel.runs)
        else:
            self._panel.start(begun)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_timer)
        self._timer.start(_ASK_MS)

    def _on_timer(self) -> None:
        run = self._panel.runs.chosen()
        if run is None or run.status().is_alive:
            return
        self._timer.stop()
        self._panel.runs.poll()
        QTimer.singleShot(_SETTLE_MS, self._compare)

    def _compare(self) -> None:
        self._panel.runs.view.results.compare.click()
        self._viewer.reset_view()
        QTimer.singleShot(_SETTLE_MS, self._take)

    def _take(self) -> None:
        self._viewer.screenshot(str(self._target), canvas_only=False, flash=False)
        if self._prepare is not None:
            self._panel.pages.setCurrentWidget(self._panel.prepare)
            QApplication.processEvents()
            self._viewer.screenshot(str(self._prepare), canvas_only=False, flash=False)
        self._viewer.close()
        QApplication.quit()


def main() -> None:
    """Take one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--prepare", type=Path, help="where a picture of the other page goes")
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--run", type=Path, help="show this run instead of training anew")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        begun: DetectorCommand | Run
        if options.run is None:
            data = Path(os.environ["NAPARI_AMIL_DATA"], "chula_slides")
            annotated = annotated_fields(data, Path(folder, ANNOTATED))
            settings = DetectorTrainingSettings.fine_tuning(steps=options.steps)
            begun = DetectorCommand(annotated, Path(folder, "detectors", "first"), settings)
        else:
            begun = Run(options.run)
        viewer = napari.Viewer(show=False)
        viewer.theme = options.theme
        viewer.window.resize(1366, 768)
        viewer.window.show()
        viewer.window.resize(1366, 768)
        picture = Picture(viewer, begun, options.target, options.prepare)
        napari.run()
        del picture


if __name__ == "__main__":
    main()
