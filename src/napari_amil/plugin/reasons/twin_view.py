"""A cell beside its pseudo-healthy twin and their difference, drawn on demand for all cells of its image."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Shapes
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QSlider, QVBoxLayout, QWidget

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.layers.cell_layer import cells_of, need_record
from napari_amil.plugin.layers.crops import image_of
from napari_amil.plugin.layers.planes import plane_at
from napari_amil.plugin.layers.twins import (
    Twins,
    has_network,
    keep_twins,
    read_twins,
    show_heat,
    twins_of,
)
from napari_amil.plugin.reasons.thumbnail import Thumbnail
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import RedrawCells, RedrawnCells

_SIDE_PX = 84
_TITLES = ("as a control cell", "difference", "nearest memory")


class TwinView(QWidget):
    """A button that redraws the cells of an image, and then the pictures of the chosen one.

    Parameters
    ----------
    viewer
        Viewer in which the differences of all cells become an image layer.
    worker
        The process that has the networks.
    """

    def __init__(self, viewer: Viewer, worker: Worker, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._worker = viewer, worker
        self._layer: Shapes | None = None
        self._cell_id = -1
        self.job = JobBar(
            "Redraw as control cells",
            "Let the network of the model draw every cell of this image as a control cell, and show over the "
            "image where they differ (yellow: by a quarter of the brightness or more).",
        )
        self.pictures = [Thumbnail(_SIDE_PX, viewer.theme) for _ in _TITLES]
        self.captions = [QLabel(title) for title in _TITLES]
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(90)
        self.opacity.setAccessibleName("Opacity of the difference")
        self.opacity.setToolTip("Opacity of the difference over the cell, in per cent.")
        self._lay_out()
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_finished)
        self.opacity.valueChanged.connect(self._on_opacity_changed)
        self.look_at(None, -1)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.job)
        grid = QGridLayout()
        for column, (picture, caption) in enumerate(zip(self.pictures, self.captions, strict=True)):
            grid.addWidget(picture, 0, column)
            grid.addWidget(caption, 1, column)
            caption.setWordWrap(True)
            caption.setFixedWidth(_SIDE_PX)  # wider ones would push the card out of its dock
            picture.setAccessibleName(f"The cell, {caption.text()}")
        grid.setColumnStretch(len(_TITLES), 1)
        layout.addLayout(grid)
        layout.addWidget(self.opacity)

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        for picture in self.pictures:
            picture.set_theme(theme)

    def look_at(self, layer: Shapes | None, cell_id: int) -> None:
        """Show a cell of a layer; hidden where no network has scored its cells."""
        self._layer, self._cell_id = layer, cell_id
        self.setVisible(layer is not None and has_network(layer.features.columns))
        self._show()

    def _show(self) -> None:
        twins = None if self._layer is None else twins_of(self._layer)
        twin = None if twins is None or self._layer is None else twins.of(self._layer, self._cell_id)
        shown: list[NDArray[np.uint8] | None] = [None, None, None]
        if twin is not None:
            shown = [twin.twin, twin.warmed(self.opacity.value() / 100), twin.memory]
        for picture, caption, pixels in zip(self.pictures, self.captions, shown, strict=True):
            picture.show_picture(pixels)
            for widget in (picture, caption):
                widget.setVisible(pixels is not None)
        self.opacity.setVisible(twin is not None)

    def run(self) -> None:
        """Send image and cells of the layer to the worker."""
        layer = self._layer
        if layer is None or self.job.is_running:
            return
        record, image = need_record(layer), image_of(self._viewer.layers, layer)
        bundle = (record.bag or {}).get("bundle")
        try:
            if image is None:
                raise AmilError(f"The image below '{layer.name}' was closed; open it again.")
            folder = self._worker.new_folder()
            place = plane_at(image, record.place).input(folder)
            cells = cells_of(layer)
            arrays: dict[str, Any] = dict(cells.arrays())
            np.savez(folder / "cells.npz", **arrays)
        except (AmilError, OSError) as error:
            self.job.say(str(error), "error")
            return
        request = RedrawCells(
            **place,
            cells=folder / "cells.npz",
            out=folder,
            settings=RunSettings(detection=record.detection),
            agreed_px=record.agreed_px,
            bundle=bundle,
        )

        def read(reply: RedrawnCells) -> tuple[Shapes, Twins]:
            return layer, read_twins(reply.pictures, reply.network, cells)

        self.job.follow(self._worker.start(request), read)

    def _on_finished(self, answer: tuple[Shapes, Twins]) -> None:
        layer, twins = answer
        if layer not in self._viewer.layers:
            self.job.say("The cells were closed meanwhile, so that nothing is shown.", "warning")
            return
        keep_twins(layer, twins)
        show_heat(self._viewer, layer, twins)
        self._show()

    def _on_opacity_changed(self, _: int) -> None:
        self._show()
