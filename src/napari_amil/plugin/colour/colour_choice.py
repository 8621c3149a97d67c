"""The choice of the score that colours the cells, and of its colour scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Shapes
from numpy.typing import NDArray
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.columns import column_of
from napari_amil.core.base.types import ANOMALOUS_Q
from napari_amil.plugin.colour.legend import ColourBar, Marks
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.colour.style_choice import StyleChoice
from napari_amil.plugin.layers.cell_layer import cell_layers, show_scale
from napari_amil.plugin.layers.colour_scale import (
    DIVERGING_MAPS,
    SEQUENTIAL_MAPS,
    ColourScale,
    default_scale,
    is_signed,
    known_score_columns,
)
from napari_amil.plugin.layers.evidence import evidence_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.user_settings import remember, remembered

_LEVELS = (50.0, 95.0, 99.0)
_COLUMN = "colour/column"
_MAPS = {False: "colour/map", True: "colour/diverging_map"}


class ColourChoice(QWidget):
    """Score, colour bar and, folded, the map and its two ends."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Shapes | None = None
        self._scales = scales_of(viewer)
        self.column = QComboBox()
        self.column.setAccessibleName("Colour by")
        self.column.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.bar = ColourBar(viewer.theme)
        self.colormap = QComboBox()
        self.colormap.setAccessibleName("Colour map")
        self.low, self.high = _end("Value at the left end"), _end("Value at the right end")
        self.fit = QPushButton("Fit to this image")
        self.fit.setToolTip("Set both ends from the cells of this image; all images then use the same scale.")
        self._lay_out()
        self.column.activated.connect(self._on_column_activated)
        self.colormap.activated.connect(self._on_scale_edited)
        self.low.valueChanged.connect(self._on_scale_edited)
        self.high.valueChanged.connect(self._on_scale_edited)
        self.fit.clicked.connect(self._on_fit)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Colour", self.column)
        layout.addLayout(rows)
        layout.addWidget(self.bar)
        self.more = Folded("Colour scale")
        form = QFormLayout()
        form.addRow("Map", self.colormap)
        form.addRow("From", self.low)
        form.addRow("To", self.high)
        form.addRow(self.fit)
        self.more.body.addLayout(form)
        layout.addWidget(StyleChoice(self._viewer))
        layout.addWidget(self.more)

    def value(self) -> ColourScale | None:
        """Return the scale that is shown; None before the first scores."""
        return self._scales.get(self.column.currentData() or "")

    def setValue(self, column: str) -> None:  # noqa: N802 - Qt's manner
        """Colour by ``column``."""
        index = self.column.findData(column)
        if index >= 0:
            self.column.setCurrentIndex(index)
            self._on_column_chosen()

    def offer(self, layer: Shapes | None) -> None:
        """Offer the scores of ``layer`` and colour it by the chosen one; hidden while it has none."""
        record = record_of(layer) if layer is not None else None
        self._layer = layer if record is not None and record.scores is not None else None
        self.setVisible(self._layer is not None)
        if self._layer is None:
            return
        chosen = self.column.currentData() or remembered(_COLUMN, "")
        table = self._layer.features
        self.column.clear()
        for column in known_score_columns(table):
            self.column.addItem(column_of(column).title, column)
            self.column.setItemData(self.column.count() - 1, column_of(column).meaning, 3)
        self.column.setCurrentIndex(max(self.column.findData(chosen), 0))
        self._on_column_chosen()

    def refresh_bar(self) -> None:
        """Draw the cells of the layer on the colour bar again."""
        if self._layer is not None:
            scale = self.value()
            marks = Marks() if scale is None else marks_of(self._layer, scale.column)
            self.bar.show_scale(scale, self._values(), marks)

    def mark(self, values: Mapping[str, Any]) -> None:
        """Point at the cell with these ``values`` on the colour bar."""
        scale = self.value()
        self.bar.mark(float(values.get(scale.column, np.nan)) if scale is not None else None)

    def _values(self) -> NDArray[np.float64]:
        column = self.column.currentData()
        if self._layer is None or column not in self._layer.features:
            return np.empty(0)
        return np.asarray(self._layer.features[column].to_numpy(float))

    def _on_column_activated(self, _: int) -> None:
        remember(_COLUMN, str(self.column.currentData()))
        self._on_column_chosen()

    def _on_column_chosen(self, _: int = 0) -> None:
        column = self.column.currentData()
        if column is None:
            return
        self.column.setToolTip(column_of(column).meaning)
        self._scales.setdefault(column, _with_own_map(default_scale(column, self._values())))
        self._show(self._scales[column])

    def _on_scale_edited(self, _: object = None) -> None:
        scale = self.value()
        if scale is not None and self.low.value() < self.high.value():
            low, high, name = self.low.value(), self.high.value(), self.colormap.currentText()
            if name != scale.colormap:
                remember(_MAPS[is_signed(scale.column)], name)
            self._show(replace(scale, low=low, high=high, colormap=name))

    def _on_fit(self) -> None:
        scale, values = self.value(), self._values()
        known = values[np.isfinite(values)]
        if scale is None or not len(known) or known.min() == known.max():
            return
        if is_signed(scale.column):
            reach = float(np.abs(known).max())
            self._show(replace(scale, low=-reach, high=reach))
        else:
            self._show(replace(scale, low=float(known.min()), high=float(known.max())))

    def _show(self, scale: ColourScale) -> None:
        """Colour every scored layer of the window by ``scale``, and show it here."""
        self._scales[scale.column] = scale
        self._show_ends(scale)
        for layer in cell_layers(self._viewer.layers):
            record = record_of(layer)
            if layer is self._layer or (record is not None and record.scores is not None):
                show_scale(layer, scale)
        self.refresh_bar()

    def _show_ends(self, scale: ColourScale) -> None:
        editors = (self.colormap, self.low, self.high)
        for editor in editors:
            editor.blockSignals(True)
        self.colormap.clear()
        self.colormap.addItems(DIVERGING_MAPS if is_signed(scale.column) else SEQUENTIAL_MAPS)
        self.colormap.setCurrentText(scale.colormap)
        step = (scale.high - scale.low) / 20
        decimals = int(np.clip(2 - np.floor(np.log10(scale.high - scale.low)), 0, 6))
        for box, number in ((self.low, scale.low), (self.high, scale.high)):
            box.setDecimals(decimals)
            box.setSingleStep(step)
            box.setValue(number)
        for editor in editors:
            editor.blockSignals(False)


def _with_own_map(scale: ColourScale) -> ColourScale:
    """Return ``scale`` in the map that the user chose last for scores of its kind."""
    signed = is_signed(scale.column)
    name = remembered(_MAPS[signed], scale.colormap)
    return replace(scale, colormap=name) if name in (DIVERGING_MAPS if signed else SEQUENTIAL_MAPS) else scale


def marks_of(layer: Shapes, column: str) -> Marks:
    """Return percentiles, and where q < 0.05 begins, on the scale of ``column``.

    The percentiles of the distance are those of held-out control cells; of other scores those of the cells
    of the layer. A score that is a percentile or a probability needs none. q falls with the distance, so
    that it has one place on the scales of distance and percentile.
    """
    table = layer.features
    values = table[column].to_numpy(float)
    known, evidence = values[np.isfinite(values)], evidence_of(layer)
    levels: tuple[tuple[float, float], ...] = ()
    of = "these cells"
    if column == "anomaly" and evidence is not None:
        levels, of = tuple(evidence.control_levels), "control cells"
    elif not column_of(column).is_probability and len(known):
        levels = tuple((level, float(np.percentile(known, level))) for level in _LEVELS)
    if column == "anomaly_q":
        return Marks(levels, of, ANOMALOUS_Q if (known < ANOMALOUS_Q).any() else None, is_above=False)
    if column not in ("anomaly", "anomaly_percentile") or "anomaly_q" not in table:
        return Marks(levels, of)
    clear = values[table["anomaly_q"].to_numpy(float) < ANOMALOUS_Q]
    return Marks(levels, of, float(clear.min()) if len(clear) else None)


def _end(tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(-1e6, 1e6)
    box.setKeyboardTracking(False)
    box.setToolTip(tip)
    box.setAccessibleName(tip)
    return box
