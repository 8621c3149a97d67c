"""Set up every cell layer of a viewer: row identity, undo, keys and the link to its image."""

from __future__ import annotations

import weakref
from copy import deepcopy
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.notifications import show_info
from qtpy.QtCore import QCoreApplication, QObject

from napari_amil.plugin.layers.autosave import Autosave, autosave_folder
from napari_amil.plugin.layers.cell_layer import cell_layers, image_transform
from napari_amil.plugin.layers.edits import next_unsure, toggle_excluded
from napari_amil.plugin.layers.journal import journal_of, keep
from napari_amil.plugin.layers.planes import image_name
from napari_amil.plugin.layers.rows import RECORD, CellRecord, record_of
from napari_amil.plugin.layers.selection import fly_to, keys_of, selection_of
from napari_amil.plugin.layers.writers import stand_first
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.viewer import PerViewer

NEXT_KEY, OUT_KEY, LET_GO_KEY = "n", "o", "Escape"
KEYS = {
    "Ctrl-Z": "undo",
    "Ctrl-Shift-Z": "redo",
    "N": "next unsure cell",
    "O": "leave the chosen cells out, or take them back",
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
            layer.bind_key(NEXT_KEY, self._on_next_key, overwrite=True)
            layer.bind_key(OUT_KEY, _on_out_key, overwrite=True)
            layer.bind_key(LET_GO_KEY, self._on_let_go_key, overwrite=True)
            self.autosave.watch(layer)
        self.autosave.look()

    def _link(self, viewer: ViewerModel, cells: Shapes) -> None:
        """Give cells whose image was closed, or opened after them, the image of their name and size."""
        record = record_of(cells)
        images = [layer for layer in viewer.layers if isinstance(layer, Image)]
        if record is None or any(str(image.unique_id) == record.image_id for image in images):
            return
        found = next((image for image in reversed(images) if _fits(image, record)), None)
        if found is not None:
            record.image_id = str(found.unique_id)
            record.image_shape, record.size_known = _shape(found)[-2:], True  # type: ignore[assignment]
            for name, value in image_transform(found).items():
                setattr(cells, name, value)

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


def _on_out_key(layer: Shapes) -> None:
    """Leave the chosen cells out, or take them back."""
    toggle_excluded(layer)


def _fits(image: Image, record: CellRecord) -> bool:
    """Tell whether ``image`` is what the cells lie on, by its name and its size."""
    shape = _shape(image)
    size, n_lead = shape[-2:], len(shape) - 2
    if n_lead != len(record.place) or any(i >= n for i, n in zip(record.place, shape[:-2], strict=True)):
        return False
    own = record.image_shape
    fits = size == own if record.size_known else all(n >= part for n, part in zip(size, own, strict=True))
    name, wanted = image_name(image, record.place), Path(record.image_name).name
    return fits and wanted in {name, Path(name).stem}


def _shape(image: Image) -> tuple[int, ...]:
    """Return the shape of an image without its colours."""
    shape = (image.data[0] if image.multiscale else image.data).shape
    return tuple(int(n) for n in (shape[:-1] if image.rgb else shape))


look_after = PerViewer(lambda viewer: CellCare(viewer, QCoreApplication.instance()))
"""The `CellCare` of a viewer; every panel and reader gets the same one."""
