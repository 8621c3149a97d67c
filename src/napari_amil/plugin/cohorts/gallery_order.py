"""Sorting of a gallery: the score, and highest or lowest first."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QToolButton, QWidget

from napari_amil.core.base.columns import column_of
from napari_amil.plugin.colour.scales import ColourScales
from napari_amil.plugin.layers.colour_scale import ColourScale, default_scale
from napari_amil.plugin.window.user_settings import remember, remembered

_DIRECTIONS = {True: ("highest first", Qt.ArrowType.DownArrow), False: ("lowest first", Qt.ArrowType.UpArrow)}
_MOST_DIGITS = 3
"""So many further digits are shown to tell neighbours apart."""
_TIES = "Where neighbours have the same value, the second number is their anomaly."
_COLUMN, _FALLING = "gallery/column", "gallery/highest_first"


class GalleryOrder(QWidget):
    """A menu of scores and a button for the direction."""

    valueChanged = Signal()  # noqa: N815 - Qt's manner

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.column = QComboBox()
        self.column.setAccessibleName("Sort by")
        self.column.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.direction = QToolButton()
        self.direction.setCheckable(True)
        self.direction.setChecked(remembered(_FALLING, True))
        self._wanted = remembered(_COLUMN, "")
        self.direction.setToolTip("Reverse the order.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Sort by"))
        layout.addWidget(self.column, 1)
        layout.addWidget(self.direction)
        self._show_direction(self.direction.isChecked())
        self.column.activated.connect(self._on_chosen)
        self.direction.toggled.connect(self._on_turned)

    def value(self) -> tuple[str, bool]:
        """Return the column (empty while there is none) and whether the highest value comes first."""
        return str(self.column.currentData() or ""), self.direction.isChecked()

    def setValue(self, column: str, highest_first: bool = True) -> None:  # noqa: N802 - Qt's manner
        """Sort by ``column``; emits ``valueChanged`` once if anything differs."""
        before, self._wanted = self.value(), column
        self.blockSignals(True)
        self.column.setCurrentIndex(max(self.column.findData(column), 0))
        self.direction.setChecked(highest_first)
        self.blockSignals(False)
        if self.value() != before:
            self.valueChanged.emit()

    def offer(self, names: list[str]) -> None:
        """Offer columns of numbers, the first where the one that was chosen last is not among them."""
        if names == [self.column.itemData(i) for i in range(self.column.count())]:
            return
        self.column.clear()
        for name in names:
            self.column.addItem(column_of(name).title, name)
            self.column.setItemData(
                self.column.count() - 1, column_of(name).meaning, Qt.ItemDataRole.ToolTipRole
            )
        self.column.setCurrentIndex(max(self.column.findData(self._wanted), 0))

    def scale(self, scales: ColourScales, values: NDArray[np.float64]) -> ColourScale | None:
        """Return the scale of the chosen column, the same as everywhere in the window."""
        column, _ = self.value()
        if not np.isfinite(values).any():
            return None
        return scales.setdefault(column, default_scale(column, values))

    def _on_chosen(self, _: int) -> None:
        self.column.setToolTip(f"{column_of(self.value()[0]).meaning} {_TIES}")
        self._wanted = self.value()[0]
        remember(_COLUMN, self._wanted)
        self.valueChanged.emit()

    def _on_turned(self, highest_first: bool) -> None:
        self._show_direction(highest_first)
        remember(_FALLING, highest_first)
        self.valueChanged.emit()

    def _show_direction(self, highest_first: bool) -> None:
        words, arrow = _DIRECTIONS[highest_first]
        self.direction.setArrowType(arrow)
        self.direction.setAccessibleName(words)
        self.direction.setToolTip(f"Now the {words}; press to reverse it.")


def distinct_captions(column: str, values: NDArray[np.float64], anomaly: NDArray[np.float64]) -> list[str]:
    """Return the captions of cells in a row: value and unit, with as many digits as tell neighbours apart.

    Where neighbours have the same value their anomaly follows.
    """
    texts = [_apart(column, values, place) for place in range(len(values))]
    tied = _alike(texts)
    seconds = [_apart("anomaly", anomaly, place) for place in range(len(values))]
    has_second = tied & np.isfinite(anomaly) & (column != "anomaly")
    return [f"{t} · {a}" if is_so else t for t, a, is_so in zip(texts, seconds, has_second, strict=True)]


def _apart(column: str, values: NDArray[np.float64], place: int) -> str:
    """Return a value with the fewest digits that tell it from its neighbours, if any do."""
    near = values[max(place - 1, 0) : place + 2]
    own, text = min(place, 1), column_of(column).text
    others = [float(value) for number, value in enumerate(near) if number != own]
    for further in range(_MOST_DIGITS + 1):
        shown = text(float(near[own]), further)
        if all(shown != text(other, further) for other in others):
            return shown
    return text(float(near[own]))


def _alike(texts: list[str]) -> NDArray[np.bool_]:
    """Return a mask of the texts that equal one beside them."""
    same = np.array([first == second for first, second in pairwise(texts)], dtype=bool)
    return np.concatenate([[False], same]) | np.concatenate([same, [False]])


def sorting(
    column: str, values: NDArray[np.float64], anomaly: NDArray[np.float64], highest_first: bool
) -> NDArray[np.intp]:
    """Return the order of ``values``: equal ones by their anomaly, missing ones last."""
    sign = -1.0 if highest_first else 1.0
    second = -sign if column_of(column).unusual == "low" else sign
    return np.lexsort((second * anomaly, sign * values))
