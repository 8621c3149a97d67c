"""The Cell card: one cell, its measurements, its contribution to the verdict, and similar cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Shapes
from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout

from napari_amil.core.base.class_names import display_name
from napari_amil.core.base.measure_words import deviations_in_words
from napari_amil.plugin.colour.hover import hover_of
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.crops import cell_picture
from napari_amil.plugin.layers.evidence import evidence_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.score_words import (
    certainty,
    contributions,
    describe,
    largest_contribution,
    numbers,
    unusual,
)
from napari_amil.plugin.layers.selection import CellKey, find_cell, keys_of, selection_of
from napari_amil.plugin.layers.walk import NEXT_KEY, PREVIOUS_KEY, Order, walk_of
from napari_amil.plugin.reasons.charts import SignedBars
from napari_amil.plugin.reasons.neighbour_rows import LikeCells, PictureRow, heading
from napari_amil.plugin.reasons.thumbnail import Thumbnail
from napari_amil.plugin.reasons.twin_view import TwinView
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.theme import sized, wrapped
from napari_amil.plugin.window.work import Worker, shared_worker

_SIDE_PX = 122
_LEAST_ERROR = 0.005
"""Errors of a percentile below this are not worth a sentence."""
_VOICES = (
    "How far this cell moves the score of each class (no unit): to the right for it, to the left against it. "
    "The bars of all cells of the open images have one scale."
)
_NOTHING = "Point at a cell, click on one to keep it here, or press ▶."


class CellCard(Panel):
    """Everything about the chosen cell, else about the one under the pointer."""

    TITLE = "Cell card"
    TERMS = (
        "Anomaly percentile",
        "Attention",
        "Attention x n",
        "Contribution",
        "Control",
        "Control deviation",
        "Embedding",
        "p-value",
        "q-value",
        "Standard error",
        "Verdict",
    )

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._worker = worker if worker is not None else shared_worker()
        self._under_pointer: CellKey | None = None
        self._orders: list[Order] = []
        self._walk = walk_of(viewer)
        self._reach: float | None = None
        self.key: CellKey | None = None
        self._build()
        self._later = QTimer(self)  # a change of many layers and features is shown once
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._on_later)
        self.selection = selection_of(viewer)
        self.selection.currentChanged.connect(self._on_current_changed)
        self.hover = hover_of(viewer)
        self.hover.cellChanged.connect(self._on_pointed)
        self._walk.changed.connect(self._later.start)
        hear(self, viewer.events.theme, self._on_theme_changed)
        self.refresh()

    def _build(self) -> None:
        theme = self._viewer.theme
        self.order = QComboBox()
        self.order.setAccessibleName("Order of the cells")
        self.order.setToolTip("In which order Previous and Next walk through the cells of all open images.")
        self.order.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.before = _step_button("◀", f"Previous cell (← or {PREVIOUS_KEY} on the image)")
        self.after = _step_button("▶", f"Next cell (→ or {NEXT_KEY} on the image)")
        self.place = wrapped()
        self.picture = Thumbnail(_SIDE_PX, theme)
        self.headline = sized(wrapped(), 1.15, bold=True)
        self.sure = wrapped()
        self.words = wrapped()
        self.voices_heading = heading("Moves the verdict")
        self.voices = SignedBars(theme)
        self.voices.setToolTip(_VOICES)
        self.figures = wrapped()
        for label, tip in (
            (self.place, "Which cell this is, and its place in the order chosen above."),
            (self.headline, "How many of 100 control cells are less unusual than this one."),
            (self.sure, "Whether chance alone could explain it, by the q-value of the cell."),
            (self.words, "What is unusual about the shape and the colour of this cell."),
            (self.voices_heading, _VOICES),
            (self.figures, "All numbers of this cell, with their units."),
        ):
            label.setToolTip(tip)
        self.controls = PictureRow(theme)
        self.likes = LikeCells(self._viewer, self._worker)
        self.twin = TwinView(self._viewer, self._worker)
        self._lay_out()
        self.before.clicked.connect(self.previous)
        self.after.clicked.connect(self.next)
        self.order.activated.connect(self._on_order_chosen)
        self.picture.clicked.connect(self._on_picture_pressed)
        self.likes.pressed.connect(self._go_to)

    def _lay_out(self) -> None:
        layout = self._scrolling_layout()
        layout.setSpacing(6)
        walk = QHBoxLayout()
        walk.addWidget(self.before)
        walk.addWidget(self.order, 1)
        walk.addWidget(self.after)
        layout.addLayout(walk)
        layout.addWidget(self.place)
        column = QVBoxLayout()
        column.addWidget(self.headline)
        column.addWidget(self.sure)
        column.addStretch(1)
        top = QGridLayout()
        top.addWidget(self.picture, 0, 0, Qt.AlignmentFlag.AlignTop)
        top.addLayout(column, 0, 1)
        top.setColumnStretch(1, 1)
        layout.addLayout(top)
        for widget in (
            self.words,
            self.voices_heading,
            self.voices,
            self.twin,
            self.controls,
            self.likes,
            self.figures,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)

    def next(self) -> None:
        """Choose the next cell in the chosen order and fly to it."""
        self._step(1)

    def previous(self) -> None:
        """Choose the previous cell in the chosen order and fly to it."""
        self._step(-1)

    def _step(self, by: int) -> None:
        self._under_pointer = None
        self._walk.step(by, self.key)
        self.refresh()

    def _go_to(self, key: CellKey) -> None:
        self._under_pointer = None
        self._walk.go_to(key)
        self.refresh()

    def _on_order_chosen(self, _: int) -> None:
        self._walk.set_order(self.order.currentText())
        keys = self._walk.keys()
        if keys:
            self._go_to(keys[0])

    def _on_picture_pressed(self) -> None:
        if self.key is not None:
            self._go_to(self.key)

    def _on_pointed(self, layer: Shapes | None, row: int) -> None:
        self._under_pointer = keys_of(layer, [row])[0] if layer is not None else None
        self.refresh()

    def _on_current_changed(self, _: object) -> None:
        self.refresh()

    def _on_later(self) -> None:
        self._reach = None
        self.likes.look_at(None)
        self.refresh()

    def _on_theme_changed(self, _: object) -> None:
        for widget in (self.picture, self.voices, self.controls, self.likes, self.twin):
            widget.set_theme(self._viewer.theme)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Update the card to changes made while it was hidden."""
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Show the chosen cell, else the one under the pointer; nothing is done while the card is hidden."""
        self.key = self.selection.current or self._under_pointer
        if not self.isVisible():
            return
        self._offer_orders()
        for part in (self.before, self.order, self.after, self.picture):
            part.setVisible(bool(self._orders))
        found = find_cell(self._viewer, self.key) if self.key is not None else None
        if found is None:
            self._show_nothing()
        else:
            self._show_cell(*found)

    def _offer_orders(self) -> None:
        offered = self._walk.orders()
        if offered == self._orders:
            return
        self._orders = offered
        self.order.clear()
        self.order.addItems([order.name for order in offered])
        self.order.setCurrentIndex(max(self.order.findText(self._walk.wanted), 0))

    def _show_nothing(self) -> None:
        self.place.setText(_NOTHING if self._orders else "Find and score cells first.")
        self.picture.show_picture(None)
        for label in (self.headline, self.sure, self.words, self.figures):
            label.setText("")
        self._show_voices({})
        self.controls.show_controls("", [])
        self.likes.look_at(None)
        self.twin.look_at(None, -1)

    def _show_cell(self, layer: Shapes, row: int) -> None:
        assert self.key is not None
        values = layer.features.iloc[row].to_dict()
        self._show_place(values)
        self._show_picture(layer, row)
        self._show_words(layer, values)
        voices = contributions(values)
        self._show_voices({display_name(name): value for name, value in voices.items()})
        evidence = evidence_of(layer)
        is_scored = evidence is not None and np.isfinite(values.get("anomaly", np.nan))
        near = evidence.controls(self.key.cell_id) if evidence is not None and is_scored else []
        self.controls.show_controls("Most alike among control cells", near)
        self.likes.look_at(self.key if is_scored else None)
        self.twin.look_at(layer if is_scored else None, self.key.cell_id)

    def _show_voices(self, voices: dict[str, float]) -> None:
        if voices and self._reach is None:
            tables = [layer.features for layer in cell_layers(self._viewer.layers)]
            self._reach = max(map(largest_contribution, tables), default=0.0)
        self.voices.show_values(voices, self._reach or 0.0)
        for part in (self.voices_heading, self.voices):
            part.setVisible(bool(voices))

    def _show_place(self, values: dict[str, Any]) -> None:
        assert self.key is not None
        how = "chosen" if self.key == self.selection.current else "under the pointer"
        keys = self._walk.keys()
        where = f", {keys.index(self.key) + 1:,} of {len(keys):,}" if self.key in keys else ""
        self.place.setText(f"Cell {self.key.cell_id} of {self.key.image}, {how}{where}")

    def _show_picture(self, layer: Shapes, row: int) -> None:
        picture = cell_picture(self._viewer.layers, layer, row)
        if picture is None:
            self.picture.show_picture(None)
            return
        record = record_of(layer)
        colour = np.asarray(layer.edge_color[row], float)
        has_scale = record is not None and record.scale is not None
        self.picture.show_picture(picture.pixels, picture.outline, colour if has_scale else None)
        self.picture.setAccessibleName("Picture of the cell; press to go there")
        self.picture.setToolTip("Press to go to this cell. Every cell of an image is shown at one scale.")

    def _show_words(self, layer: Shapes, values: dict[str, Any]) -> None:
        assert self.key is not None
        percentile = float(values.get("anomaly_percentile", np.nan))
        has_score = np.isfinite(percentile)
        self.headline.setText(unusual(percentile) if has_score else describe(values)[0].partition(": ")[2])
        error = float(values.get("anomaly_percentile_se", np.nan))
        spread = f"Give or take {error:.2g} % with other controls. " if error >= _LEAST_ERROR else ""
        self.sure.setText(spread + certainty(values))
        evidence = evidence_of(layer)
        words = evidence.words(self.key.cell_id) if evidence is not None else deviations_in_words(values)
        words = words if has_score else []
        self.words.setText("\n".join(f"• {word[:1].upper()}{word[1:]}" for word in words))
        self.words.setVisible(bool(words))
        self.figures.setText("\n".join(numbers(values)))


def _step_button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    button.setFixedWidth(34)
    return button
