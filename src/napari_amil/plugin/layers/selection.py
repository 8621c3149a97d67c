"""The selection that all views of a viewer share: chosen cells and the current cell."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QCoreApplication, QObject, Signal

from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.fast_shapes import shape_at
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.viewer import PerViewer

_CELLS_ACROSS = 8
"""Shorter side of the canvas in cell diameters after a flight to a cell."""


BAG = "bag"
"""Key in ``metadata`` of a cell layer that shows the cells of one bag of a cohort: the name of the bag."""


CANVAS = "cell_images"
"""Key in ``metadata`` of a cell layer that shows a bag of cell images on one canvas: ``cell_id -> image``."""


class CellKey(NamedTuple):
    """A cell of any image, open or not: the columns ``image``, ``cell_id`` and ``bag`` of every table.

    Where an image lies in several bags, each counts its cells by itself, so that only the bag tells
    two cells apart. Cells of an image that was opened alone have no bag.
    """

    image: str
    cell_id: int
    bag: str = ""


class KeyRows:
    """Rows of a table by the keys of cells.

    A key with a bag means the cell of that bag; a key or a row without one means any.

    Parameters
    ----------
    images, cell_ids
        Columns of the table.
    bags
        The same; None where the table has no bags.
    """

    def __init__(self, images: Iterable[Any], cell_ids: Iterable[Any], bags: Iterable[Any] | None) -> None:
        self._images = [str(image) for image in images]
        self._ids = [int(cell_id) for cell_id in cell_ids]
        self._bags = None if bags is None else [str(bag) for bag in bags]
        self._found: dict[bool, dict[tuple[str, int, str], list[int]]] = {}

    def rows(self, key: CellKey) -> list[int]:
        """Return the rows of a cell; a cell that is listed twice has two."""
        by_bag = bool(key.bag) and self._bags is not None
        if by_bag not in self._found:
            bags = self._bags if by_bag and self._bags is not None else [""] * len(self._ids)
            index: dict[tuple[str, int, str], list[int]] = {}
            for row, place in enumerate(zip(self._images, self._ids, bags, strict=True)):
                index.setdefault(place, []).append(row)
            self._found[by_bag] = index
        return self._found[by_bag].get(key if by_bag else CellKey(key.image, key.cell_id), [])


class CellSelection(QObject):
    """The chosen cells of one viewer, in step with the selected shapes of its cell layers.

    A view shows `keys` and `current`, hears `changed` and `currentChanged`, and calls `choose`. Cells of
    images that are not open may be chosen too.
    """

    changed = Signal(object)
    """The chosen cells, a ``frozenset`` of `CellKey`."""
    currentChanged = Signal(object)  # noqa: N815 - Qt's manner
    """The cell that is looked at, a `CellKey` or None."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)  # a viewer that is closed goes, and its selection with it
        self._writing = False
        self.keys: frozenset[CellKey] = frozenset()
        self.current: CellKey | None = None
        hear(self, viewer.layers.events.inserted, self._on_inserted)
        for layer in viewer.layers:
            self._watch(layer)

    def choose(self, keys: Iterable[CellKey], current: CellKey | None = None) -> None:
        """Choose exactly ``keys`` and look at ``current``; without it, at the old one or the only one."""
        self._set(frozenset(keys), current)
        self._writing = True
        try:
            viewer = self._viewer()
            for layer in cell_layers(viewer.layers) if viewer is not None else ():
                layer.selected_data = set(rows_of(layer, self.keys))
                layer.refresh()
        finally:
            self._writing = False

    def _set(self, keys: frozenset[CellKey], current: CellKey | None) -> None:
        if current is None:
            current = self.current if self.current in keys else next(iter(keys), None)
        same_keys, same_current = keys == self.keys, current == self.current
        self.keys, self.current = keys, current
        if not same_keys:
            self.changed.emit(keys)
        if not same_current:
            self.currentChanged.emit(current)

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401
        self._watch(event.value)

    def _watch(self, layer: Any) -> None:  # noqa: ANN401
        if not isinstance(layer, Shapes):
            return
        weak = weakref.ref(layer)
        method = weakref.WeakMethod(self._on_selected)

        def call(*_: object) -> None:
            living, slot = weak(), method()
            if living is not None and slot is not None:
                slot(living)

        changed = layer.selected_data.events.items_changed
        changed.connect(call)
        self.destroyed.connect(lambda: changed.disconnect(call))

    def _on_selected(self, layer: Shapes) -> None:
        """Take over what was selected by hand in one layer."""
        if self._writing or record_of(layer) is None:
            return
        chosen = keys_of(layer, layer.selected_data)
        self._set(frozenset(chosen), chosen[-1] if len(chosen) == 1 else None)


selection_of = PerViewer(lambda viewer: CellSelection(viewer, QCoreApplication.instance()))
"""The selection of a viewer; every view of it gets the same one."""


def keys_of(layer: Shapes, rows: Iterable[int]) -> list[CellKey]:
    """Return the keys of the cells in ``rows`` of a cell layer."""
    table = layer.features
    known = [row for row in sorted(rows) if row < len(table)]
    images, ids = table["image"].to_numpy()[known], table["cell_id"].to_numpy()[known]
    bag, canvas = str(layer.metadata.get(BAG, "")), layer.metadata.get(CANVAS)
    if canvas is not None:
        images = [canvas.get(int(number), image) for image, number in zip(images, ids, strict=True)]
    return [CellKey(str(image), int(cell_id), bag) for image, cell_id in zip(images, ids, strict=True)]


def keys_of_rows(cells: pd.DataFrame) -> list[CellKey]:
    """Return the keys of the rows of a table of the cells of a cohort."""
    columns = (cells[name].tolist() for name in ("image", "cell_id", "bag"))
    return [CellKey(str(image), int(number), str(bag)) for image, number, bag in zip(*columns, strict=True)]


def rows_of(layer: Shapes, keys: Iterable[CellKey]) -> list[int]:
    """Return in which rows of a cell layer the cells of ``keys`` lie; others are left out."""
    record, bag = record_of(layer), str(layer.metadata.get(BAG, ""))
    canvas = layer.metadata.get(CANVAS, {})
    wanted = [
        key.cell_id
        for key in keys
        if record is not None
        and key.image == canvas.get(key.cell_id, record.image_name)
        and (key.bag == bag or not key.bag or not bag)
    ]
    ids = layer.features["cell_id"].to_numpy()[: layer.nshapes]
    return [int(row) for row in np.flatnonzero(np.isin(ids, wanted))]


def find_cell(viewer: ViewerModel, key: CellKey) -> tuple[Shapes, int] | None:
    """Return the layer and row of a cell; None if its image is not open."""
    for layer in cell_layers(viewer.layers):
        for row in rows_of(layer, [key]):
            return layer, row
    return None


def fly_to(viewer: ViewerModel, layer: Shapes, row: int) -> None:
    """Move the camera, and the sliders of a stack, to a cell, so that it is large and its neighbours show.

    A canvas of cell images of which that would be all is shown as a whole.
    """
    record = record_of(layer)
    shape = np.asarray(shape_at(layer, row)[0], float)
    corners = np.asarray(layer.data_to_world(shape.mean(axis=0)))
    if record is not None and record.place:
        viewer.dims.set_point(range(len(corners) - 2), corners[:-2])
    extent = np.ptp(shape[:, -2:], axis=0) * np.abs(np.asarray(layer.scale[-2:]))
    world = np.asarray(viewer.layers.extent.world)[:, -2:]
    across, whole = _CELLS_ACROSS * extent.max(), np.ptp(world, axis=0).max()
    middle = world.mean(axis=0) if CANVAS in layer.metadata and across >= whole else corners[-2:]
    viewer.scene.camera.center = tuple(middle) if len(corners) == 2 else (0.0, *middle)
    across = min(across, whole)
    viewer.scene.camera.zoom = float(min(viewer.canvas.size) / max(across, 1e-9))
