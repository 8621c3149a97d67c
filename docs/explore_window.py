"""Draw the window while a scored folder is explored: ``python docs/explore_window.py TARGET SCORED``.

SCORED is a scored folder with known cells that no class explains, such as ``scored-hs_like`` of
``napari-amil unseen``. The clusters are found and the first is chosen, as a user does it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_amil.plugin.cohorts.project import open_project_of
from napari_amil.plugin.embedding_map import EmbeddingMap
from napari_amil.plugin.explore import ExplorePanel
from napari_amil.plugin.window.display import some_display
from napari_amil.plugin.window.work import Worker

_START_MS, _SETTLE_MS = 1500, 4000


class Picture(QObject):
    """Opens the panels, finds clusters, chooses the first and takes the picture."""

    def __init__(self, viewer: napari.Viewer, folder: Path, target: Path, worker: Worker) -> None:
        super().__init__()
        self._viewer, self._folder, self._target = viewer, folder, target
        self._map = EmbeddingMap(viewer, worker)
        self._panel = ExplorePanel(viewer, worker)
        viewer.window.add_dock_widget(self._map, name="Embedding map", area="left")
        viewer.window.add_dock_widget(self._panel, name="Explore", area="right")
        for dock in self._panel.window().findChildren(QDockWidget):
            if dock.windowTitle() in {"layer list", "layer controls"}:
                dock.hide()
        QTimer.singleShot(_START_MS, self._start)

    def _start(self) -> None:
        open_project_of(self._viewer).changed.connect(self._on_opened)
        self._panel.open_folder(str(self._folder))

    def _on_opened(self) -> None:
        page = self._panel.clusters
        page.job.finished.connect(self._on_found)
        self._map.colour.setCurrentIndex(max(self._map.colour.findData("cell_type"), 0))
        page.samples.setCurrentIndex(1)
        page.run()

    def _on_found(self, _: object) -> None:
        page = self._panel.clusters
        page.view.setCurrentIndex(page.rows.index(0, 0))
        page.view.clicked.emit(page.rows.index(0, 0))
        QTimer.singleShot(_SETTLE_MS, self._take)

    def _take(self) -> None:
        self._viewer.screenshot(str(self._target), canvas_only=False, flash=False)
        self._viewer.close()
        QApplication.quit()


def main() -> None:
    """Take one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("scored", type=Path)
    parser.add_argument("--theme", default="dark")
    options = parser.parse_args()
    with some_display(2732, 1536):
        viewer = napari.Viewer(show=False)
        viewer.theme = options.theme
        viewer.window.resize(1366, 768)
        viewer.window.show()
        viewer.window.resize(1366, 768)
        worker = Worker()
        picture = Picture(viewer, options.scored, options.target, worker)
        napari.run()
        worker.close()
        del picture


if __name__ == "__main__":
    main()
