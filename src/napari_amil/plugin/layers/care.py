"""Set up every cell layer of a viewer: row identity, undo, keys and the link to its image."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.notifications import show_info
from qtpy.QtCore import QCoreApplication, QObject, QTimer

from napari_amil.plugin.layers.autosave import Autosave, autosave_folder
from napari_amil.plugin.layers.cell_layer import cell_layers, image_transform, need_record
from napari_amil.plugin.layers.cell_names import MOST, name_open_cells, type_keys
from napari_amil.plugin.layers.edits import next_unsure, toggle_excluded
from napari_amil.plugin.layers.image_identity import beside_of, distinct_name, image_below, shape_of
from napari_amil.plugin.layers.journal import journal_of, keep
from napari_amil.plugin.layers.rows import RECORD, complete, layer_name, record_of, write_features
from napari_amil.plugin.layers.selection import BAG, fly_to, keys_of, selection_of
from napari_amil.plugin.layers.writers import stand_first
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.viewer import PerViewer

_WAITING = "napari_amil_waiting"
"""Key in ``metadata`` of cells that are hidden until their image is opened."""
_NAMED = 3
NEXT_KEY, OUT_KEY, LET_GO_KEY = "n", "o", "Escape"
NAME_KEY = "Alt-{}"
KEYS = {
    "Ctrl-Z": "undo",
    "Ctrl-Shift-Z": "redo",
    "N": "next unsure cell",
    "O": "leave the chosen cells out, or take them back",
    "Alt-1 to Alt-9": "name the chosen cells, by the list in Name cell types (Alt-0: take the name back)",
    "Shift-P": "draw round a cell",
    "R": "draw a box, E an ellipse, P a polygon",
    "S": "choose and move, D reshape by points",
    "I": "add a point to an outline, X take one away",
    "Delete": "delete the chosen cells",
    "Ctrl-C, Ctrl-V": "copy and paste",
    "Escape": "let go of the chosen cells",
    "Left, Right": "with a chosen cell: to the previous or next one",
    "Space": "hold to move the picture",
}
"""Every key that serves a correction while cells are active; those of napari keep their meaning."""


class CellCare(QObject):
    """Looks after the cell layers of one viewer."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._seen: set[tuple[str, int]] = set()
        self._kind = "found"
        self._hidden: list[str] = []
        self._tell_hidden = QTimer(self)
        self._tell_hidden.setSingleShot(True)
        self._tell_hidden.timeout.connect(self._on_hidden)
        stand_first()
        self.autosave = Autosave(viewer, autosave_folder(), self)
        hear(self, viewer.layers.events.inserted, self._on_inserted)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.autosave.flush)
        for layer in list(viewer.layers):
            self.adopt(layer)

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401
        self.adopt(event.value)

    def adopt(self, layer: Any) -> None:  # noqa: ANN401
        """Look after ``layer`` if it holds cells; give cells their image if it is one."""
        viewer = self._viewer()
        if viewer is None:
            return
        if isinstance(layer, Image):
            for cells in cell_layers(viewer.layers):
                self._link(viewer, cells)
        elif record_of(layer) is not None:
            journal = journal_of(layer)
            if journal is not None and not journal.is_of(layer):
                # napari's duplicate shares its metadata with the original
                layer.metadata[RECORD] = deepcopy(record_of(layer))
                journal = None
            if journal is None:
                keep(layer)
            self._link(viewer, layer)
            self._name_apart(viewer, layer)
            layer.bind_key(NEXT_KEY, self._on_next_key, overwrite=True)
            layer.bind_key(OUT_KEY, _on_out_key, overwrite=True)
            layer.bind_key(LET_GO_KEY, self._on_let_go_key, overwrite=True)
            for number in range(MOST + 1):
                layer.bind_key(NAME_KEY.format(number), self._name_action(number), overwrite=True)
            self.autosave.watch(layer)
        self.autosave.look()

    def _name_action(self, number: int) -> Callable[[Shapes], None]:
        """Return the action of a key that names cells; napari asks actions for their ``__name__``."""

        def name_cells(layer: Shapes) -> None:
            self._on_name_key(number, layer)

        return name_cells

    def _link(self, viewer: ViewerModel, cells: Shapes) -> None:
        """Give cells whose image was closed, or opened after them, the image of their name and size.

        Cells whose image is not open, though others are, stay hidden until it is.
        """
        record = record_of(cells)
        images = [layer for layer in viewer.layers if isinstance(layer, Image)]
        if record is None or any(str(image.unique_id) == record.image_id for image in images):
            return
        names = {need_record(layer).image_name for layer in cell_layers(viewer.layers) if layer is not cells}
        found = image_below(record, images, names, beside_of(cells))
        if found is not None:
            record.image_id = str(found.unique_id)
            record.image_shape, record.size_known = shape_of(found)[-2:], True  # type: ignore[assignment]
            for name, value in image_transform(found).items():
                setattr(cells, name, value)
            if cells.metadata.pop(_WAITING, False):
                cells.visible = True
        elif images and not record.image_id and cells.visible:
            cells.metadata[_WAITING], cells.visible = True, False
            self._hidden.append(record.image_name)
            self._tell_hidden.start()

    def _on_hidden(self) -> None:
        """Show one notice on all hidden cells; a table may bring those of a hundred images."""
        names, self._hidden = self._hidden, []
        if names:
            shown = ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
            images = "image is" if len(names) == 1 else f"{len(names)} images are"
            show_info(f"Cells of {shown} are hidden, since their {images} not open; opening one shows them.")

    def _name_apart(self, viewer: ViewerModel, cells: Shapes) -> None:
        """Give the image of ``cells`` a name of its own if another image with cells has the same."""
        record = record_of(cells)
        if record is None or BAG in cells.metadata:
            return
        others = [need_record(layer) for layer in cell_layers(viewer.layers) if layer is not cells]
        taken = {other.image_name for other in others if other.image_id != record.image_id}
        images = [layer for layer in viewer.layers if isinstance(layer, Image)]
        own = next((image for image in images if str(image.unique_id) == record.image_id), None)
        if record.image_name not in taken:
            return
        before, record.image_name = record.image_name, distinct_name(own, record, images, taken)
        if cells.name.partition(" [")[0] == layer_name(before):  # napari numbers layers of one name
            folder = record.image_name.rpartition("/")[0]
            cells.name = f"{layer_name(before)} in {folder}" if folder else layer_name(record.image_name)
        write_features(cells, record, complete(cells.features, cells.nshapes, record))

    def go_to_next(self, layer: Shapes, kind: str) -> bool:
        """Choose the most unsure cell that was not looked at yet and fly to it; False if there is none."""
        viewer, record = self._viewer(), record_of(layer)
        if viewer is None or record is None:
            return False
        self._kind = kind
        seen = {cell_id for image, cell_id in self._seen if image == record.image_name}
        row = next_unsure(layer, kind, seen)
        if row is None:
            self._seen = {key for key in self._seen if key[0] != record.image_name}
            return False
        key = keys_of(layer, [row])[0]
        self._seen.add((record.image_name, key.cell_id))
        viewer.layers.selection.active = layer
        selection_of(viewer).choose([key], key)
        fly_to(viewer, layer, row)
        return True

    def go_on(self, layer: Shapes) -> bool:
        """Go to the next cell that is unsure in the way that was asked for last."""
        return self.go_to_next(layer, self._kind)

    def _on_next_key(self, layer: Shapes) -> None:
        """Go to the next unsure cell."""
        if not self.go_on(layer):
            show_info("There is no other unsure cell.")

    def _on_let_go_key(self, layer: Shapes) -> None:
        """Finish a shape that is being drawn, as napari does; else choose no cell any more."""
        viewer = self._viewer()
        if layer._is_creating:  # noqa: SLF001 - napari's own key asks the same
            layer._finish_drawing()  # noqa: SLF001
        elif viewer is not None:
            selection_of(viewer).choose([])

    def _on_name_key(self, number: int, _: Shapes) -> None:
        """Name the chosen cells by a key."""
        viewer = self._viewer()
        if viewer is None:
            return
        name = type_keys(viewer).of_key(number)
        if number and not name:
            show_info(f"No type has the key {number}; add it in Name cell types.")
        elif not name_open_cells(viewer, selection_of(viewer).keys, name):
            show_info("Choose the cells to name first.")


def _on_out_key(layer: Shapes) -> None:
    """Leave the chosen cells out, or take them back."""
    toggle_excluded(layer)


look_after = PerViewer(lambda viewer: CellCare(viewer, QCoreApplication.instance()))
"""The `CellCare` of a viewer; every panel and reader gets the same one."""
