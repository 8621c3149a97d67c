"""The row that offers shapes which somebody drew before as cells."""

from __future__ import annotations

from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.window.follow import LayerCombo


class ExistingShapes(QWidget):
    """A choice among the Shapes layers that are no cells yet, and a button that makes them cells."""

    wanted = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.combo = LayerCombo(viewer, _could_be_cells, "no other shapes")
        self.combo.setAccessibleName("Shapes drawn before")
        self.button = QPushButton("Use as cells")
        self.button.setToolTip("Every shape of this layer becomes a cell of the image; nothing is searched.")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self.wanted)


def _could_be_cells(layer: Layer) -> bool:
    return isinstance(layer, Shapes) and record_of(layer) is None
