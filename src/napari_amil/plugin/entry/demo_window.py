"""The window of the demo: the panel *Look at a smear* finds, scores and shows one field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari
from napari.layers import Shapes
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.entry import menus as _samples
from napari_amil.plugin.layers.score_words import describe
from napari_amil.plugin.layers.selection import find_cell, selection_of
from napari_amil.plugin.window.docks import open_panel
from napari_amil.plugin.window.panel import SMEAR_TITLE
from napari_amil.plugin.window.work import shared_worker

_START_MS = 300
_SETTLE_MS = 900
_AWAITED_MS = 60_000
"""A picture is taken then, even if neighbours are still missing."""
_PATIENCE_MS = 15 * 60 * 1000
FRONTS = {"smear": SMEAR_TITLE, "card": "Cell card", "verdict": "Verdict"}
"""Panels that a picture can show in front."""


class Demo(QObject):
    """One viewer with the panel *Look at a smear*, which finds and scores the cells of one field.

    Parameters
    ----------
    viewer
        A viewer with the field as its only layer.
    picture
        File of the picture; None leaves the window open.
    front
        Which panel is in front at the end: a key of `FRONTS`.
    """

    def __init__(self, viewer: napari.Viewer, picture: Path | None, *, front: str) -> None:
        super().__init__()
        self.viewer, self.picture, self.front = viewer, picture, front
        self._awaited: set[str] = set()
        self.error = ""
        self.note = ""
        self.smear = open_panel(viewer, SMEAR_TITLE)
        self.smear.finished.connect(self._on_scored)
        self.smear.errored.connect(self._on_errored)
        QTimer.singleShot(_START_MS, self.smear.run)
        if picture is not None:
            QTimer.singleShot(_PATIENCE_MS, self._give_up)

    def _on_scored(self, layer: Shapes) -> None:
        keys = self.smear.cells.keys
        record: dict[str, Any] = {}
        if keys:
            selection_of(self.viewer).choose([keys[0]], keys[0])
            found = find_cell(self.viewer, keys[0])
            record = layer.features.iloc[found[1]].to_dict() if found is not None else {}
        self.note = f"{layer.nshapes} cells" + (
            f"; the most unusual: {'; '.join(describe(record))}" if record else ""
        )
        self.viewer.reset_view()
        panel = open_panel(self.viewer, FRONTS[self.front])
        if self.front == "verdict":
            self._awaited.add("deletion")
            panel.deletion.job.finished.connect(self._on_deleted)
            panel.refresh()
            panel.deletion.run()
        elif self.front == "card":
            self._awaited.add("neighbours")
            panel.likes.shown.connect(self._on_neighbours)
        if self.picture is not None:
            QTimer.singleShot(_AWAITED_MS if self._awaited else 2 * _SETTLE_MS, self._take_picture)

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
        demo = Demo(viewer, picture, front=front)
    except AmilError:
        viewer.close()
        raise
    napari.run()
    if demo.error:
        raise AmilError(demo.error)
    return demo.note


def open_field(viewer: napari.Viewer, image: Path | None) -> None:
    """Add the field to the viewer: the user's own, else the real smear that comes with the program."""
    if image is None:
        for pixels, attributes, _ in _samples.real_smear():
            viewer.add_image(pixels, **attributes)
        return
    readers: Any = (OSError, ValueError, TypeError, RuntimeError, SyntaxError, LookupError)
    try:
        opened = viewer.open(str(image), plugin="napari")
    except readers as error:
        raise AmilError(f"The image '{image}' cannot be opened; save it again as PNG or TIFF.") from error
    if not opened:
        raise AmilError(f"The image '{image}' cannot be opened; save it again as PNG or TIFF.")
