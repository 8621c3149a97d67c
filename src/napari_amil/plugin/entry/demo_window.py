"""The window of the demo: it detects, scores and shows one field in the panels, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.entry import menus as _samples
from napari_amil.plugin.layers.score_words import describe
from napari_amil.plugin.layers.selection import keys_of, selection_of
from napari_amil.plugin.window.work import shared_worker

PLUGIN = "napari-amil"
_START_MS = 300
_SETTLE_MS = 900
_AWAITED_MS = 60_000
"""A picture is taken then, even if neighbours are still missing."""
_PATIENCE_MS = 15 * 60 * 1000
_HEIGHTS_PX = (390, 600)
_TALL_PX = 1000
"""From this height of the window on both panels have room below each other; else they are tabs."""


class Demo(QObject):
    """One viewer with both panels; finds and scores the cells of one field, then waits or takes a picture.

    Parameters
    ----------
    viewer
        A viewer with the field as its only layer.
    picture
        Where the picture goes; None leaves the window open.
    tall
        Show the panels below each other.
    front
        Which panel is in front on the right at the end: ``score`` or ``verdict``.
    """

    def __init__(self, viewer: napari.Viewer, picture: Path | None, *, tall: bool, front: str) -> None:
        super().__init__()
        self.viewer, self.picture, self.tall, self.front = viewer, picture, tall, front
        self._awaited: set[str] = {"neighbours"}
        self.error = ""
        self.note = ""
        add = viewer.window.add_plugin_dock_widget
        self.detect_dock, self.detect = add(PLUGIN, "Detect cells")
        self.score_dock, self.score = add(PLUGIN, "Score cells", tabify=not tall)
        self.bag_dock, self.bag = add(PLUGIN, "Verdict", tabify=True)
        self.card_dock, self.card = add(PLUGIN, "Cell card")
        docks = {self.detect_dock: "Detect", self.score_dock: "Score", self.bag_dock: "Verdict"}
        docks[self.card_dock] = "Cell card"
        for dock, title in docks.items():
            dock.setWindowTitle(title)  # as short as the tab is narrow
        _move_left(self.card_dock)
        self.detect_dock.raise_()
        self.detect.detected.connect(self._on_detected)
        self.score.scored.connect(self._on_scored)
        for panel in (self.detect, self.score):
            panel.errored.connect(self._on_errored)
        QTimer.singleShot(_START_MS, self.detect.run)
        if picture is not None:
            QTimer.singleShot(_PATIENCE_MS, self._give_up)

    def _on_detected(self, _: Shapes) -> None:
        self.score_dock.raise_()
        self.score.run()

    def _on_scored(self, layer: Shapes) -> None:
        row = self._point_at_most_unusual(layer)
        record = layer.features.iloc[row].to_dict() if row is not None else {}
        self.note = f"{layer.nshapes} cells" + (
            f"; the most unusual: {'; '.join(describe(record))}" if record else ""
        )
        self.viewer.reset_view()
        self.card_dock.raise_()
        if self.tall:
            docks = [self.detect_dock, self.score_dock]
            self.detect_dock.window().resizeDocks(docks, list(_HEIGHTS_PX), Qt.Orientation.Vertical)
        if self.front == "verdict":
            self.bag_dock.raise_()
            self._awaited.add("deletion")
            self.bag.deletion.job.finished.connect(self._on_deleted)
            self.bag.refresh()
            self.bag.deletion.run()
        self.card.likes.shown.connect(self._on_neighbours)
        if self.picture is not None:
            QTimer.singleShot(_AWAITED_MS, self._take_picture)

    def _on_neighbours(self) -> None:
        self._arrived("neighbours")

    def _on_deleted(self, _: object) -> None:
        self._arrived("deletion")

    def _arrived(self, what: str) -> None:
        """Take the picture as soon as everything that it shows is there."""
        if what in self._awaited:
            self._awaited.remove(what)
            if not self._awaited and self.picture is not None:
                QTimer.singleShot(_SETTLE_MS, self._take_picture)

    def _point_at_most_unusual(self, layer: Shapes) -> int | None:
        """Show the read-out of the most unusual whole cell, as if the pointer were on it."""
        table = layer.features
        anomaly = table["anomaly"].where(~table["touches_border"]).to_numpy(float)
        if not np.isfinite(anomaly).any():
            return None
        row = int(np.nanargmax(anomaly))
        middle = layer.data_to_world(np.asarray(layer.data[row], float).mean(axis=0))
        self.score.hover.look_at(tuple(float(part) for part in middle))
        key = keys_of(layer, [row])[0]
        selection_of(self.viewer).choose([key], key)
        return row

    def _take_picture(self) -> None:
        picture, self.picture = self.picture, None
        if picture is None:  # taken already
            return
        try:
            self.viewer.screenshot(str(picture), canvas_only=False, flash=False)
        except (OSError, ValueError) as error:
            self.error = f"The picture '{picture}' could not be written ({error}); end its name in .png."
        self.note += f"; the window is in {picture}"
        self._end()

    def _on_errored(self, message: str) -> None:
        if self.picture is not None:
            self.error = message
            self._end()

    def _give_up(self) -> None:
        self.error = "The demo was not done after 15 minutes; try a smaller image."
        self._end()

    def _end(self) -> None:
        shared_worker().close()
        self.viewer.close()
        QApplication.quit()


def _move_left(dock: QDockWidget) -> None:
    """Show a dock on the left, with napari's own docks as tabs behind it."""
    window = dock.window()
    assert isinstance(window, QMainWindow)
    area = Qt.DockWidgetArea.LeftDockWidgetArea
    others = [other for other in window.findChildren(QDockWidget) if window.dockWidgetArea(other) == area]
    window.addDockWidget(area, dock)
    for other in others:
        window.tabifyDockWidget(dock, other)
    dock.raise_()


def run(image: Path | None, picture: Path | None, theme: str, size: tuple[int, int], front: str) -> str:
    """Show the demo until its window is closed (or its picture is taken) and return a line about it.

    Raises
    ------
    AmilError
        If the image cannot be opened, or detection or scoring failed before the picture.
    """
    viewer = napari.Viewer(show=False)
    viewer.theme = theme
    viewer.window.resize(*size)
    viewer.window.show()
    viewer.window.resize(*size)
    try:
        open_field(viewer, image)
        demo = Demo(viewer, picture, tall=size[1] >= _TALL_PX, front=front)
    except AmilError:
        viewer.close()
        raise
    napari.run()
    if demo.error:
        raise AmilError(demo.error)
    return demo.note


def open_field(viewer: napari.Viewer, image: Path | None) -> None:
    """Add the field to the viewer: the user's own, else the made-up smear."""
    if image is None:
        for pixels, attributes, _ in _samples.synthetic_smear():
            viewer.add_image(pixels, **attributes)
        return
    readers: Any = (OSError, ValueError, TypeError, RuntimeError, SyntaxError, LookupError)
    try:
        opened = viewer.open(str(image), plugin="napari")
    except readers as error:
        raise AmilError(f"The image '{image}' cannot be opened; save it again as PNG or TIFF.") from error
    if not opened:
        raise AmilError(f"The image '{image}' cannot be opened; save it again as PNG or TIFF.")
