"""Overlays of the cells of a viewer: boxes, a smooth field, and dots for many cells."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer, Points, Shapes
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_amil.plugin.colour.boxes_and_dots import (
    FEW,
    MANY,
    make_boxes,
    make_dots,
    make_outlines,
    most_telling,
    n_in_view,
    update_boxes,
    update_dots,
    update_outlines,
)
from napari_amil.plugin.colour.heatmap import DEFAULT_REACH, REACH, make_field, update_field
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.colour.standing_out import make_marks, rows_standing_out, update_marks
from napari_amil.plugin.layers.cell_layer import cell_layers, show_scale
from napari_amil.plugin.layers.colour_scale import CellStyle
from napari_amil.plugin.layers.companions import Companions
from napari_amil.plugin.layers.rows import DOTTED, record_of
from napari_amil.plugin.layers.selection import keys_of, rows_of, selection_of
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.viewer import PerViewer

AUTOMATIC, OUTLINES, DOTS = "automatic", "outlines", "dots"
_SETTLE_MS = 80


class Overlays(QObject):
    """Keeps style, smooth field and overview of every cell layer of a viewer as the user wants them."""

    changed = Signal()
    """Something that a panel tells about is different now."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.proxy(viewer)
        self._scales = scales_of(viewer)
        self._selection = selection_of(viewer)
        self._is_ours = False
        self.field_shown = False
        self.reach = DEFAULT_REACH
        self.mode = AUTOMATIC
        self.n_dotted = 0
        self._boxes = Companions(viewer, make_boxes, update_boxes, self)
        self._fields = Companions(viewer, self._make_field, update_field, self)
        self._dots = Companions(viewer, self._make_dots, update_dots, self)
        self._outlines = Companions(viewer, self._make_outlines, self._update_outlines, self)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SETTLE_MS)
        self._soon.timeout.connect(self.refresh)
        self._marks = Companions(viewer, make_marks, update_marks, self)
        self.marks_shown = True
        self._connect(viewer)

    def _connect(self, viewer: ViewerModel) -> None:
        self._boxes.deleted.connect(self._on_boxes_deleted)
        self._fields.deleted.connect(self._on_field_deleted)
        for companions in (self._dots, self._outlines):
            companions.deleted.connect(self._on_overview_deleted)
        self._marks.deleted.connect(self._on_marks_deleted)
        self._scales.styleChanged.connect(self._on_style_changed)
        self._selection.changed.connect(self._on_selection_changed)
        camera = viewer.scene.camera.events
        for emitter in (viewer.layers.events.removed, camera.center, camera.zoom):
            hear(self, emitter, self._on_something)
        hear(self, viewer.layers.events.inserted, self._on_inserted)
        for layer in viewer.layers:
            self._watch(layer)

    def show_field(self, shown: bool, reach: float) -> None:
        """Lay the smooth field over the cells, or take it away."""
        self.field_shown, self.reach = shown, reach
        self.refresh()

    def set_mode(self, mode: str) -> None:
        """Show cells as ``outlines``, as ``dots``, or as whichever suits their number."""
        self.mode = mode
        self.refresh()

    def refresh(self) -> None:
        """Bring everything up to date."""
        self._soon.stop()
        layers = cell_layers(self._viewer.layers)
        dotted = [layer for layer in layers if self._is_dotted(layer)]
        for layer in layers:
            self._set_dotted(layer, layer in dotted)
            layer.metadata[REACH] = self.reach
        coloured = [layer for layer in layers if _has_scale(layer)]
        boxed = self._scales.style.kind == "box"
        self._boxes.show(layer for layer in coloured if boxed and layer not in dotted)
        self._fields.show(coloured if self.field_shown else [])
        self._dots.show(dotted)
        self._outlines.show(dotted)
        self._marks.show(
            layer
            for layer in coloured
            if self.marks_shown and layer not in dotted and layer.visible and rows_standing_out(layer)
        )
        for layer in coloured:
            for companions in (self._boxes, self._fields):
                companion = companions.of(layer)
                if companion is not None:
                    companion.visible = layer.visible or self._dots_visible(layer)
        self.n_dotted = sum(layer.nshapes for layer in dotted)
        self.changed.emit()

    def stop(self) -> None:
        """Do nothing any more; the viewer is gone."""
        self._soon.stop()
        self._soon.timeout.disconnect()

    def _dots_visible(self, layer: Shapes) -> bool:
        dots = self._dots.of(layer)
        return dots is not None and bool(dots.visible)

    def _is_dotted(self, layer: Shapes) -> bool:
        was = DOTTED in layer.metadata
        if self.mode != AUTOMATIC:
            return self.mode == DOTS and layer.nshapes > 0
        if layer.nshapes <= FEW or not (layer.visible or was):
            return was and layer.nshapes > FEW
        return n_in_view(self._viewer, layer) > (FEW if was else MANY)

    def _set_dotted(self, layer: Shapes, dotted: bool) -> None:
        if dotted == (DOTTED in layer.metadata):
            return
        self._is_ours = True
        try:
            if dotted:
                layer.metadata[DOTTED] = True
                layer.visible = False
            else:
                del layer.metadata[DOTTED]
                record = record_of(layer)
                if record is not None and record.scale is not None:
                    show_scale(layer, record.scale)
                layer.visible = True
        finally:
            self._is_ours = False

    def _make_field(self, layer: Shapes) -> Layer:
        return make_field(layer)

    def _make_dots(self, layer: Shapes) -> Layer:
        dots = make_dots(layer)
        weak_dots, weak_layer, slot = (
            weakref.ref(dots),
            weakref.ref(layer),
            weakref.WeakMethod(self._on_picked),
        )

        def picked(*_: object) -> None:
            living = weak_dots(), weak_layer(), slot()
            if living[0] is not None and living[1] is not None and living[2] is not None:
                living[2](living[0], living[1])

        dots.selected_data.events.items_changed.connect(picked)
        return dots

    def _rows_outlined(self, layer: Shapes) -> list[int]:
        return most_telling(layer, rows_of(layer, self._selection.keys))

    def _make_outlines(self, layer: Shapes) -> Layer:
        return make_outlines(layer, self._rows_outlined(layer))

    def _update_outlines(self, layer: Shapes, companion: Layer) -> None:
        assert isinstance(companion, Shapes)
        update_outlines(companion, layer, self._rows_outlined(layer))

    def _on_picked(self, dots: Points, layer: Shapes) -> None:
        keys = keys_of(layer, dots.selected_data)
        if keys:
            self._selection.choose(keys, keys[-1])

    def _on_style_changed(self, style: CellStyle) -> None:
        for layer in cell_layers(self._viewer.layers):
            record = record_of(layer)
            if record is not None and record.scale is not None:
                show_scale(layer, replace(record.scale, style=style))
        self.refresh()

    def _on_boxes_deleted(self) -> None:
        self._scales.set_style(replace(self._scales.style, kind="tinted"))

    def _on_field_deleted(self) -> None:
        self.field_shown = False
        self._soon.start()

    def _on_marks_deleted(self) -> None:
        self.marks_shown = False

    def _on_overview_deleted(self) -> None:
        self.mode = OUTLINES
        self._soon.start()

    def _on_selection_changed(self, _: object) -> None:
        if self.n_dotted:
            self._soon.start()

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401
        self._watch(event.value)
        self._on_something()

    def _watch(self, layer: Any) -> None:  # noqa: ANN401
        if isinstance(layer, Shapes):
            for emitter in (layer.events.features, layer.events.edge_color):
                hear(self, emitter, self._on_something)
            hear(self, layer.events.visible, self._on_visible)

    def _on_visible(self, _: object) -> None:
        """A cell layer that the user shows again comes with its outlines."""
        if self._is_ours:
            return
        shown = [layer for layer in cell_layers(self._viewer.layers) if layer.visible]
        if any(DOTTED in layer.metadata for layer in shown):
            self.mode = OUTLINES
        self._soon.start()

    def _on_something(self, _: object = None) -> None:
        self._soon.start()


def _has_scale(layer: Shapes) -> bool:
    record = record_of(layer)
    return record is not None and record.scale is not None and layer.nshapes > 0


overlays_of = PerViewer(lambda viewer: Overlays(viewer, QCoreApplication.instance()), Overlays.stop)
"""The overlays of a viewer; every panel of it gets the same ones."""
