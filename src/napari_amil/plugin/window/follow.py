"""Widgets that follow the viewer: they hear its events while they live, and offer its layers for choice."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox

COMPANION = "napari_amil_companion"
"""Key in ``metadata`` of a layer that only accompanies a cell layer, whose ``unique_id`` it holds."""


def hear(widget: QObject, emitter: Any, slot: Callable[[Any], None], position: str = "first") -> None:  # noqa: ANN401
    """Call the method ``slot`` of ``widget`` on every event of ``emitter`` until the widget is destroyed."""
    weak = weakref.WeakMethod(slot)

    def call(event: Any) -> None:  # noqa: ANN401
        living = weak()
        if living is not None:
            living(event)

    emitter.connect(call, position=position)
    widget.destroyed.connect(lambda: emitter.disconnect(call))


class LayerCombo(QComboBox):
    """A choice among the layers of a viewer that ``accepts`` takes; a layer that is added is chosen.

    Parameters
    ----------
    viewer
        Viewer with the layers.
    accepts
        Which layers are offered.
    empty
        Text shown while there is none.
    tip
        Use of the chosen layer; the tooltip shows it below the full name of the layer.
    """

    layerChanged = Signal()  # noqa: N815 - Qt's manner

    def __init__(
        self, viewer: ViewerModel, accepts: Callable[[Layer], bool], empty: str, tip: str = ""
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._kind = accepts
        self._empty, self._tip = empty, tip
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        hear(self, viewer.layers.events.inserted, self._on_inserted)
        hear(self, viewer.layers.events.removed, self._on_removed)
        for layer in viewer.layers:
            hear(self, layer.events.name, self._on_renamed)
        self._refresh(None)
        self.currentIndexChanged.connect(lambda _: self.layerChanged.emit())

    def layer(self) -> Any:  # noqa: ANN401 - the kind of layer is what ``accepts`` says
        """Return the chosen layer, or None while there is none."""
        return self.currentData()

    def set_layer(self, layer: Layer) -> None:
        """Choose ``layer``."""
        index = next((i for i in range(self.count()) if self.itemData(i) is layer), -1)
        if index >= 0:
            self.setCurrentIndex(index)

    def _accepts(self, layer: Layer) -> bool:
        """Return whether a layer is offered; companions of cells are not."""
        return COMPANION not in layer.metadata and self._kind(layer)

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401
        hear(self, event.value.events.name, self._on_renamed)
        self._refresh(event.value if self._accepts(event.value) else None)

    def _on_removed(self, _: Any) -> None:  # noqa: ANN401
        self._refresh(None)

    def _on_renamed(self, _: Any) -> None:  # noqa: ANN401
        self._refresh(None)

    def _refresh(self, wanted: Layer | None) -> None:
        before = self.layer()
        wanted = wanted if wanted is not None else before
        self.blockSignals(True)
        self.clear()
        for layer in reversed([layer for layer in self._viewer.layers if self._accepts(layer)]):
            self.addItem(layer.name, layer)
        if self.count() == 0:
            self.addItem(self._empty, None)
        self.setEnabled(self.itemData(0) is not None)
        self.setCurrentIndex(0)
        if wanted is not None:
            self.set_layer(wanted)
        self.setToolTip("\n".join(filter(None, [self.currentText(), self._tip])))
        self.blockSignals(False)
        if self.layer() is not before:
            self.layerChanged.emit()
