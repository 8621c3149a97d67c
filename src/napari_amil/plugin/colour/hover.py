"""The pointer on the canvas: the cell under it in the status bar, and a click that pins a cell."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QCoreApplication, QObject, Signal

from napari_amil.plugin.colour.boxes_and_dots import row_under
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.rows import DOTTED
from napari_amil.plugin.layers.score_words import describe
from napari_amil.plugin.layers.selection import keys_of, selection_of
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.viewer import PerViewer, take_key

_IDLE = "Ready"
"""Text of napari's own status line."""
LET_GO_KEY = "Escape"
STILL_PX = 4
"""A press that moves no farther on the screen than this is a click."""


class Hover(QObject):
    """Follows the pointer over the cell layers of a viewer, whichever layer is active.

    A viewer has one, which all its panels share (`hover_of`). A click on a cell while the active layer is
    in pan mode chooses the cell, and a click beside all cells lets go; in its other modes napari chooses
    by itself.
    """

    cellChanged = Signal(object, int)  # noqa: N815 - Qt's manner; the layer (or None) and the row

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._cell: tuple[Shapes | None, int] = (None, -1)
        self._cell_id = -1
        self._position: tuple[float, ...] | None = None
        self._status = ""
        self._is_writing = False
        self.is_paused = False
        """Whether clicks mean something else for now, such as the cell to measure."""
        self._connect_mouse(viewer)
        # napari writes its own line after every movement; ours comes last and stays
        hear(self, viewer.events.status, self._on_status, position="last")
        hear(self, viewer.layers.events.inserted, self._on_inserted)
        hear(self, viewer.layers.events.removed, self._on_changed)
        hear(self, viewer.dims.events.current_step, self._on_plane_changed)
        for layer in viewer.layers:
            self._watch(layer)
        take_key(self, viewer, LET_GO_KEY, self.let_go)

    def _connect_mouse(self, viewer: ViewerModel) -> None:
        weak_move, weak_press = weakref.WeakMethod(self._on_move), weakref.WeakMethod(self._on_press)

        def on_move(_: ViewerModel, event: Any) -> None:  # noqa: ANN401
            living = weak_move()
            if living is not None:
                living(event)

        def on_press(_: ViewerModel, event: Any) -> Generator[None]:  # noqa: ANN401
            living = weak_press()
            if living is not None:
                yield from living(event)

        moves, presses = viewer.mouse_move_callbacks, viewer.mouse_drag_callbacks
        moves.append(on_move)
        presses.append(on_press)
        self.destroyed.connect(lambda: (moves.remove(on_move), presses.remove(on_press)))

    def let_go(self) -> None:
        """Choose no cell any more."""
        viewer = self._viewer()
        if viewer is not None:
            selection_of(viewer).choose([])

    def look_at(self, position: tuple[float, ...]) -> None:
        """Find the cell at ``position`` (world coordinates) and show its description."""
        self._position = tuple(position)
        layer, row = self.cell_at(position)
        number = int(layer.features["cell_id"].iloc[row]) if layer is not None else -1
        is_same = (layer, row, number) == (*self._cell, self._cell_id)
        self._cell, self._cell_id = (layer, row), number
        if not is_same:
            self._tell()
            self.cellChanged.emit(layer, row)

    def cell_at(self, position: tuple[float, ...]) -> tuple[Shapes | None, int]:
        """Return the layer and row of the topmost cell at ``position`` (world coordinates), if any."""
        viewer = self._viewer()
        for layer in reversed(cell_layers(viewer.layers)) if viewer is not None else ():
            if layer.nshapes and (layer.visible or DOTTED in layer.metadata):
                row = _row_at(layer, position)
                if row is not None and row < len(layer.features):
                    return layer, int(row)
        return None, -1

    def _tell(self) -> None:
        """Write the line about the cell under the pointer into the status bar."""
        viewer, (layer, row), before = self._viewer(), self._cell, self._status
        self._status = "" if layer is None else describe(layer.features.iloc[row].to_dict())[0]
        if viewer is not None and (self._status or viewer.status == before):
            viewer.status = self._status or _IDLE

    def _on_move(self, event: Any) -> None:  # noqa: ANN401
        self.look_at(event.position)

    def _on_press(self, event: Any) -> Generator[None]:  # noqa: ANN401
        """Pin the cell under a click; a press that drags the picture does nothing."""
        start = np.array(event.pos, float)
        if event.button != 1 or event.modifiers or self.is_paused or not self._is_panning():
            return
        yield
        while event.type == "mouse_move":
            if np.abs(np.asarray(event.pos, float) - start).max() > STILL_PX:
                return
            yield
        self.click(event.position)

    def click(self, position: tuple[float, ...]) -> None:
        """Choose the cell at ``position`` (world coordinates), or none where there is none."""
        viewer, (layer, row) = self._viewer(), self.cell_at(position)
        if viewer is None:
            return
        keys = [] if layer is None else keys_of(layer, [row])
        selection_of(viewer).choose(keys, keys[0] if keys else None)

    def _is_panning(self) -> bool:
        """Return whether a press on the canvas moves the picture, and does not draw, paint or choose."""
        viewer = self._viewer()
        active = viewer.layers.selection.active if viewer is not None else None
        return viewer is not None and (active is None or str(active.mode) == "pan_zoom")

    def _on_status(self, event: Any) -> None:  # noqa: ANN401
        viewer = self._viewer()
        wanted = self._status or _plain(event.value)
        if self._is_writing or not wanted or event.value == wanted or viewer is None:
            return
        self._is_writing = True  # two that insist on their own line would never end
        try:
            viewer.status = wanted
        finally:
            self._is_writing = False

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401
        self._watch(event.value)

    def _watch(self, layer: Any) -> None:  # noqa: ANN401
        if isinstance(layer, Shapes):
            hear(self, layer.events.features, self._on_changed)
            hear(self, layer.events.visible, self._on_changed)

    def _on_changed(self, _: object = None) -> None:
        """Look again at what lies under the pointer: another cell, the same with other scores, or none."""
        layer, _row = self._cell
        if layer is not None and self._position is not None:
            self.look_at(self._position)
            self._tell()

    def _on_plane_changed(self, _: object) -> None:
        """Look at the same place of the plane that is shown now."""
        viewer, place = self._viewer(), self._position
        if viewer is None or place is None or len(place) != viewer.dims.ndim:
            return
        shown = viewer.dims.displayed
        point = viewer.dims.point
        self.look_at(tuple(place[axis] if axis in shown else point[axis] for axis in range(len(place))))


def _plain(status: Any) -> Any:  # noqa: ANN401 - a text or napari's parts of one
    """Return napari's line beside all cells without the brackets that it writes for no cell; else nothing."""
    if not isinstance(status, dict) or not str(status.get("value", "")).startswith("[,"):
        return ""
    return {**status, "value": "", "coordinates": status.get("coords", "")}


def _row_at(layer: Shapes, position: tuple[float, ...]) -> int | None:
    """Return the row of the cell at ``position``, shown as a shape or as a dot."""
    if DOTTED in layer.metadata:
        return row_under(layer, position)
    row, _ = layer.get_value(position, world=True) or (None, None)
    return row


hover_of = PerViewer(lambda viewer: Hover(viewer, QCoreApplication.instance()))
"""The hover of a viewer; every panel of it gets the same one."""
