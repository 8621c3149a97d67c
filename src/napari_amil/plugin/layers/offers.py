"""Rows of a panel that offer existing cells: shapes drawn earlier, and unsaved work."""

from __future__ import annotations

from datetime import datetime

from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.layers.autosave import Autosave
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.window.follow import LayerCombo
from napari_amil.plugin.window.theme import wrapped


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


class RestoreBar(QWidget):
    """Says that there is unsaved work on an open image, with two buttons; hidden while there is none."""

    def __init__(self, autosave: Autosave, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._autosave = autosave
        self.text = wrapped()
        self.text.setStyleSheet("QLabel { border-left: 3px solid #e3b617; padding: 2px 0px 2px 8px; }")
        self.restore = QPushButton("Restore")
        self.restore.setToolTip("Open these cells as they were; the present ones are hidden, not lost.")
        self.discard = QPushButton("Discard")
        self.discard.setToolTip("Delete this unsaved work for good.")
        buttons = QHBoxLayout()
        buttons.addWidget(self.restore)
        buttons.addWidget(self.discard)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addLayout(buttons)
        self.restore.clicked.connect(self._on_restore)
        self.discard.clicked.connect(self._on_discard)
        autosave.offersChanged.connect(self._show)
        self._show()

    def _show(self) -> None:
        offers = self._autosave.offers
        self.setVisible(bool(offers))
        if offers:
            when = datetime.fromtimestamp(offers[-1].when).astimezone().strftime("%d %b %Y, %H:%M")
            self.text.setText(f"Changes of {when} to the cells of '{offers[-1].image}' were not saved.")

    def _on_restore(self) -> None:
        try:
            self._autosave.restore(self._autosave.offers[-1])
        except AmilError as error:
            self.text.setText(str(error))

    def _on_discard(self) -> None:
        self._autosave.discard(self._autosave.offers[-1])
