"""The cell under the pointer, described in the status bar."""

from __future__ import annotations

import weakref
from typing import Any

from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QObject, Signal

from napari_amil.plugin.colour.boxes_and_dots import row_under
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.rows import DOTTED
from napari_amil.plugin.layers.score_words import describe
from napari_amil.plugin.window.follow import hear


class Hover(QObject):
    """Follows the pointer over the cell layers of a viewer, whichever layer is active."""

    cellChanged = Signal(object, int)  # noqa: N815 - Qt's manner; the layer (or None) and the row

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._cell: tuple[Shapes | None, int] = (None, -1)
        self._status = ""
        weak = weakref.WeakMethod(self._on_move)

        def on_move(_: ViewerModel, event: Any) -> None:  # noqa: ANN401
            living = weak()
            if living is not None:
                living(event)

        callbacks = viewer.mouse_move_callbacks
        callbacks.append(on_move)
        self.destroyed.connect(lambda: callbacks.remove(on_move))
        # napari writes its own line after every movement; ours comes last and stays
        hear(self, viewer.events.status, self._on_status, position="last")

    def _on_move(self, event: Any) -> None:  # noqa: ANN401
        self.look_at(event.position)

    def look_at(self, position: tuple[float, ...]) -> None:
        """Find the cell at ``position`` (world coordinates) and say what is known about it."""
        found: tuple[Shapes | None, int] = (None, -1)
        for layer in reversed(cell_layers(self._viewer.layers)):
            if layer.nshapes and (layer.visible or DOTTED in layer.metadata):
                row = _row_at(layer, position)
                if row is not None and row < len(layer.features):
                    found = (layer, int(row))
                    break
        if found == self._cell:
            return
        self._cell = found
        layer, row = found
        self._status = "" if layer is None else describe(layer.features.iloc[row].to_dict())[0]
        if self._status:
            self._viewer.status = self._status
        self.cellChanged.emit(layer, row)

    def _on_status(self, event: Any) -> None:  # noqa: ANN401
        if self._status and event.value != self._status:
            self._viewer.status = self._status


def _row_at(layer: Shapes, position: tuple[float, ...]) -> int | None:
    """Return the row of the cell at ``position``, shown as a shape or as a dot."""
    if DOTTED in layer.metadata:
        return row_under(layer, position)
    row, _ = layer.get_value(position, world=True) or (None, None)
    return row
