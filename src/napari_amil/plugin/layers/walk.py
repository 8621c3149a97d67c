"""The order in which the keys and buttons of all panels go from cell to cell."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QCoreApplication, QObject, Signal

from napari_amil.core.base.columns import column_of
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.colour_scale import known_score_columns
from napari_amil.plugin.layers.selection import CellKey, find_cell, fly_to, keys_of, selection_of
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.user_settings import remember, remembered
from napari_amil.plugin.window.viewer import PerViewer, take_key

PREVIOUS_KEY, NEXT_KEY = "PageUp", "PageDown"
"""Keys of the canvas that napari leaves free in every layer and mode."""
LEFT_KEY, RIGHT_KEY = "Left", "Right"
"""Keys that go from cell to cell while one is chosen, and else through a stack, as napari has them."""
_ORDER = "cell_card/order"


class Order(NamedTuple):
    """A column of the features, from its highest value down or from its lowest up."""

    column: str
    falling: bool
    name: str


UNUSUAL = Order("anomaly", True, "Most unusual first")
NUMBERED = Order("cell_id", False, "By number")
_FIRST = (
    UNUSUAL,
    Order("anomaly", False, "Most ordinary first"),
    Order("anomaly_percentile_se", True, "Least sure percentile first"),
    Order("detection_score", False, "Least sure detection first"),
)


def orders(table: pd.DataFrame) -> list[Order]:
    """Return the orders that the columns of ``table`` allow, the most useful first."""
    known = [order for order in _FIRST if order.column in table and table[order.column].notna().any()]
    named = {order.column for order in known if order.falling}
    scores = [name for name in known_score_columns(table) if name not in named]
    return [
        *known,
        *(Order(name, True, f"{column_of(name).title}, highest first") for name in scores),
        NUMBERED,
    ]


def ordered_cells(layers: Iterable[Shapes], order: Order) -> list[CellKey]:
    """Return the cells of all ``layers`` that have a value in this order; left out are excluded ones."""
    keys: list[CellKey] = []
    values: list[float] = []
    for layer in layers:
        table = layer.features
        if order.column not in table:
            continue
        column = table[order.column].to_numpy(float)
        rows = np.flatnonzero(np.isfinite(column) & ~table["status"].eq("excluded").to_numpy(bool))
        keys += keys_of(layer, rows.tolist())
        values += column[rows].tolist()
    ranked = np.argsort(-np.array(values) if order.falling else np.array(values), kind="stable")
    return [keys[i] for i in ranked]


def neighbour_in(keys: list[CellKey], current: CellKey | None, by: int) -> CellKey | None:
    """Return the cell ``by`` places after ``current``, round the ends; the first where it is not there."""
    if not keys:
        return None
    if current not in keys:
        return keys[0] if by > 0 else keys[-1]
    return keys[(keys.index(current) + by) % len(keys)]


class CellWalk(QObject):
    """Goes from cell to cell of all open images in one order, which all panels of a viewer share."""

    changed = Signal()
    """Cells, scores or the order changed; many changes at once are emitted one by one."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._keys: list[CellKey] | None = None
        self.wanted = remembered(_ORDER, UNUSUAL.name)
        """Name of the order that the user chose."""
        hear(self, viewer.layers.events.inserted, self._on_inserted)
        hear(self, viewer.layers.events.removed, self._on_changed)
        for layer in viewer.layers:
            self._watch(layer)
        for key, slot in (
            (PREVIOUS_KEY, self.previous),
            (NEXT_KEY, self.next),
            (LEFT_KEY, self._on_left),
            (RIGHT_KEY, self._on_right),
        ):
            take_key(self, viewer, key, slot)

    def orders(self) -> list[Order]:
        """Return the orders that the open cells allow."""
        tables = [layer.features for layer in self._layers()]
        return orders(max(tables, key=lambda table: table.shape[1])) if tables else []

    def set_order(self, name: str) -> None:
        """Walk in the order called ``name`` from now on."""
        self.wanted, self._keys = name, None
        remember(_ORDER, name)
        self.changed.emit()

    def keys(self) -> list[CellKey]:
        """Return all cells in the chosen order."""
        if self._keys is None:
            order = next((order for order in self.orders() if order.name == self.wanted), UNUSUAL)
            self._keys = ordered_cells(self._layers(), order)
        return self._keys

    def next(self) -> None:
        """Choose the next cell and fly to it."""
        self.step(1)

    def previous(self) -> None:
        """Choose the previous cell and fly to it."""
        self.step(-1)

    def step(self, by: int, start: CellKey | None = None) -> None:
        """Go on by so many cells from the chosen one, else from ``start``."""
        viewer = self._viewer()
        if viewer is None:
            return
        key = neighbour_in(self.keys(), selection_of(viewer).current or start, by)
        if key is not None:
            self.go_to(key)

    def go_to(self, key: CellKey) -> None:
        """Choose a cell and fly to it, if its image is open."""
        viewer = self._viewer()
        if viewer is None:
            return
        selection_of(viewer).choose([key], key)
        found = find_cell(viewer, key)
        if found is not None:
            fly_to(viewer, *found)

    def _layers(self) -> list[Shapes]:
        viewer = self._viewer()
        return cell_layers(viewer.layers) if viewer is not None else []

    def _on_left(self) -> None:
        self._go_sideways(-1)

    def _on_right(self) -> None:
        self._go_sideways(1)

    def _go_sideways(self, by: int) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        if selection_of(viewer).current is not None and self.keys():
            self.step(by)
        elif by > 0:
            viewer.dims._increment_dims_right()  # noqa: SLF001 - what napari's own keys do
        else:
            viewer.dims._increment_dims_left()  # noqa: SLF001

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401
        self._watch(event.value)
        self._on_changed()

    def _watch(self, layer: Any) -> None:  # noqa: ANN401
        if isinstance(layer, Shapes):
            hear(self, layer.events.features, self._on_changed)

    def _on_changed(self, _: object = None) -> None:
        self._keys = None
        self.changed.emit()


walk_of = PerViewer(lambda viewer: CellWalk(viewer, QCoreApplication.instance()))
"""The walk through the cells of a viewer; every panel of it gets the same one."""
