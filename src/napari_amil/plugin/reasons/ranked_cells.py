"""The cells that stand out in one image, the most unusual first, with their pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap, QPolygonF
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_amil.core.base.types import ANOMALOUS_Q
from napari_amil.plugin.layers.crops import cell_picture
from napari_amil.plugin.layers.evidence import evidence_of
from napari_amil.plugin.layers.score_words import certainty, numbers, unusual
from napari_amil.plugin.layers.selection import CellKey, keys_of, selection_of
from napari_amil.plugin.reasons.thumbnail import as_qimage, paint_picture
from napari_amil.plugin.window.theme import palette

MOST, LEAST = 50, 8
"""At most and at least so many cells are listed; the least are shown even where none stands out."""
_SIDE_PX = 40
_OF_CONTROLS = " of control cells"


class RankedCell(NamedTuple):
    """A row of the ranking."""

    row: int
    key: CellKey
    values: dict[str, Any]
    stands_out: bool


def n_standing_out(table: pd.DataFrame) -> int:
    """Return the number of cells of a table with a q-value below 0.05, without those left out by hand."""
    return int(_stand_out(table).sum())


def _stand_out(table: pd.DataFrame) -> pd.Series:
    counted = ~table["status"].eq("excluded")
    return counted & (table["anomaly_q"] < ANOMALOUS_Q) if "anomaly_q" in table else counted & False


def ranked_cells(layer: Shapes) -> list[RankedCell]:
    """Return the cells of a layer that stand out, and some more, the most unusual first."""
    table = layer.features.iloc[: layer.nshapes]
    if "anomaly" not in table:
        return []
    values, clear = table["anomaly"].to_numpy(float), _stand_out(table).to_numpy(bool)
    known = np.isfinite(values) & ~table["status"].eq("excluded").to_numpy(bool)
    order = sorted(np.flatnonzero(known), key=lambda row: (not clear[row], -values[row]))
    order = order[: int(np.clip(clear.sum(), LEAST, MOST))]
    return [
        RankedCell(int(row), keys_of(layer, [int(row)])[0], table.iloc[row].to_dict(), bool(clear[row]))
        for row in order
    ]


class RankedList(QWidget):
    """A list of cells with pictures; the chosen one is the chosen cell of the viewer."""

    chosen = Signal(object)
    """The cell that the user chose here, a `CellKey`."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._keys: list[CellKey] = []
        self.list = QListWidget()
        self.list.setAccessibleName("Cells that stand out, the most unusual first")
        self.list.setToolTip("Press a cell to go there; the arrow keys go on.")
        self.list.setIconSize(QSize(_SIDE_PX, _SIDE_PX))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        self.list.currentRowChanged.connect(self._on_row_changed)
        self.list.itemClicked.connect(self._on_clicked)
        selection_of(viewer).currentChanged.connect(self.show_current)

    @property
    def keys(self) -> list[CellKey]:
        """The cells of the list, from top to bottom."""
        return list(self._keys)

    def show_cells(self, layer: Shapes | None) -> None:
        """List the cells of a layer; None or a layer without scores empties the list."""
        bar = self.list.verticalScrollBar()
        place = bar.value() if bar is not None else 0
        ranked = ranked_cells(layer) if layer is not None else []
        self.list.blockSignals(True)
        self.list.clear()
        self._keys = [cell.key for cell in ranked]
        for number, cell in enumerate(ranked, start=1):
            assert layer is not None
            self.list.addItem(self._item(layer, number, cell))
        self.list.blockSignals(False)
        self.show_current(selection_of(self._viewer).current)
        if bar is not None:
            bar.setValue(place)

    def show_current(self, key: CellKey | None) -> None:
        """Mark the chosen cell of the viewer, where it is in the list."""
        self.list.blockSignals(True)
        self.list.setCurrentRow(self._keys.index(key) if key in self._keys else -1)
        self.list.blockSignals(False)

    def _item(self, layer: Shapes, number: int, cell: RankedCell) -> QListWidgetItem:
        words = shape_words(layer, cell.key.cell_id)
        percentile = float(cell.values.get("anomaly_percentile", np.nan))
        first = short_rank(percentile) if np.isfinite(percentile) else f"cell {cell.key.cell_id}"
        second = words[0].removesuffix(_OF_CONTROLS) if words else ""
        picture, icon = self._picture(layer, cell), QIcon()
        for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):  # else Qt tints the chosen one
            icon.addPixmap(picture, mode)
        item = QListWidgetItem(icon, f"{number}  {first}\n{second}")
        tip = [f"Cell {cell.key.cell_id}", certainty(cell.values), *words, *numbers(cell.values)]
        if np.isfinite(percentile):
            tip.insert(1, unusual(percentile))
        item.setToolTip("\n".join(line for line in tip if line))
        if not cell.stands_out:
            item.setForeground(palette(self._viewer.theme).muted)
        return item

    def _picture(self, layer: Shapes, cell: RankedCell) -> QPixmap:
        pixmap = QPixmap(2 * _SIDE_PX, 2 * _SIDE_PX)
        pixmap.setDevicePixelRatio(2)
        pixmap.fill(Qt.GlobalColor.transparent)
        found = cell_picture(self._viewer.layers, layer, cell.row)
        if found is None:
            return pixmap
        outline = QPolygonF([QPointF(float(x), float(y)) for y, x in found.outline])
        colour = QColor.fromRgbF(*(float(part) for part in np.asarray(layer.edge_color[cell.row])[:3]))
        painter = QPainter(pixmap)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        paint_picture(painter, QRectF(0, 0, _SIDE_PX, _SIDE_PX), as_qimage(found.pixels), outline, colour)
        painter.end()
        return pixmap

    def _on_row_changed(self, row: int) -> None:
        if 0 <= row < len(self._keys):
            self.chosen.emit(self._keys[row])

    def _on_clicked(self, item: QListWidgetItem) -> None:
        """Choose again a cell that is marked already, whose picture may have left the canvas."""
        self._on_row_changed(self.list.row(item))


def shape_words(layer: Shapes, cell_id: int) -> list[str]:
    """Return the unusual features of a cell's shape in words, the most unusual first.

    Words on a whole channel ("look: ...") come first in the evidence and are left out.
    """
    evidence = evidence_of(layer)
    return [word for word in evidence.words(cell_id) if ": " not in word] if evidence is not None else []


def joined_words(words: list[str]) -> str:
    """Return the unusual features of a cell in one sentence that names the control cells once.

    >>> joined_words(["paler than 99 % of control cells", "longer than 98 % of control cells"])
    'Paler than 99 %, longer than 98 % of control cells.'
    """
    last = max((i for i, word in enumerate(words) if word.endswith(_OF_CONTROLS)), default=0)
    text = ", ".join([*(word.removesuffix(_OF_CONTROLS) for word in words[:last]), *words[last:]])
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def short_rank(percentile: float) -> str:
    """Return the rarity of a cell among control cells in a few words.

    >>> short_rank(99.95), short_rank(97.0), short_rank(60.0)
    ('rarer than 99.95 % of controls', 'rarer than 97 % of controls', 'rarer than 60 % of controls')
    """
    if percentile >= 100:
        return "rarer than all controls"
    shown = f"{min(percentile, 99.99):.4g}" if percentile > 99 else f"{percentile:.3g}"
    return f"rarer than {shown} % of controls"
