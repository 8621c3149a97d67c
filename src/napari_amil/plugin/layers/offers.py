"""Rows of a panel that offer existing cells: shapes drawn earlier, and unsaved work."""

from __future__ import annotations

from datetime import datetime

from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.layers.autosave import Autosave
from napari_amil.plugin.layers.colour_planes import GreyPlanes, grey_planes
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.window.follow import LayerCombo
from napari_amil.plugin.window.theme import NOTICE, wrapped


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


class JoinBar(QWidget):
    """Offers to join the grey planes of a colour image; hidden while the chosen image is none."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._planes: GreyPlanes | None = None
        self.text = wrapped()
        self.text.setStyleSheet(f"QLabel {{ {NOTICE['warning']} }}")
        self.button = QPushButton("Show it in colour")
        self.button.setToolTip("One RGB layer takes the place of the grey planes; no file is changed.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addWidget(self.button)
        self.button.clicked.connect(self.join)
        self.hide()

    def offer(self, image: Image | None) -> None:
        """Offer to join the planes that ``image`` is one of, if it is one."""
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        self._planes = grey_planes(image, images)
        self.setVisible(self._planes is not None)
        if self._planes is not None:
            self.text.setText(
                f"The picture '{self._planes.name}' was opened as grey planes; its cells are found in colour."
            )

    def join(self) -> None:
        """Put the colour image in the place of its planes."""
        if self._planes is None:
            return
        try:
            joined = self._planes.joined()
        except AmilError as error:
            self.text.setText(str(error))
            return
        for layer in self._planes.layers:
            self._viewer.layers.remove(layer)
        self._viewer.add_layer(joined)


class RestoreBar(QWidget):
    """Says that there is unsaved work on an open image, with two buttons; hidden while there is none."""

    def __init__(self, autosave: Autosave, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._autosave = autosave
        self.text = wrapped()
        self.text.setStyleSheet(f"QLabel {{ {NOTICE['warning']} }}")
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
