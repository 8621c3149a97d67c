"""Contributions of cells to the logit of each class: sums, and one stacked bar per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFontMetricsF, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_amil.core.base.class_names import display_name
from napari_amil.core.base.columns import CONTRIBUTION, column_name
from napari_amil.plugin.reasons.charts import AGAINST, FOR
from napari_amil.plugin.window.theme import Palette, mixed, palette

MOST_CELLS = 5
_TEXT_PX = 5
_BAR_PX = 10


@dataclass(frozen=True)
class ClassContributions:
    """The contributions to one class: ``bias + sum of top + others = logit``.

    Parameters
    ----------
    name
        Name of the class in the window.
    bias
        Part of the logit that no cell contributes.
    top
        Rows of the layer with the largest contributions, for or against, and these; the largest first.
    others, n_others
        Sum of the contributions of all other cells, and how many these are.
    speaks_for, speaks_against
        Sum of all positive and of all negative contributions.
    logit
        Logit of the model.
    """

    name: str
    bias: float
    top: tuple[tuple[int, float], ...]
    others: float
    n_others: int
    speaks_for: float
    speaks_against: float
    logit: float


def class_contributions(
    name: str, bag: Mapping[str, Any], table: pd.DataFrame, most: int = MOST_CELLS
) -> ClassContributions:
    """Return the contributions to the class ``name`` from the features of a scored layer."""
    column = table[column_name(CONTRIBUTION, name)].to_numpy(float)
    rows = np.flatnonzero(np.isfinite(column))
    ranked = rows[np.argsort(-np.abs(column[rows]), kind="stable")]
    first, rest = ranked[:most], ranked[most:]
    known = column[rows]
    return ClassContributions(
        display_name(name),
        float(bag["bias"][name]),
        tuple((int(row), float(column[row])) for row in first),
        float(column[rest].sum()),
        len(rest),
        float(known[known > 0].sum()),
        float(known[known < 0].sum()),
        float(bag["logit"][name]),
    )


def contributions_by_class(bag: Mapping[str, Any], table: pd.DataFrame) -> list[ClassContributions]:
    """Return the contributions of every class, the likeliest first; none without contributions."""
    names = sorted(bag.get("logit", {}), key=lambda name: -bag["logit"][name])
    return [
        class_contributions(name, bag, table) for name in names if column_name(CONTRIBUTION, name) in table
    ]


class ClassSums(QWidget):
    """The cases for all classes on one scale; a press on one chooses it."""

    classPressed = Signal(str)  # noqa: N815 - Qt's manner

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette: Palette = palette(theme)
        self._cases: Sequence[ClassContributions] = ()
        self._chosen = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Orange: what cells say for the class; blue: against it; grey: the start value, to which no cell "
            "contributes. The line is their sum, the class's score (no unit). Press a class to see its cells."
        )

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_cases(self, cases: Sequence[ClassContributions], chosen: str) -> None:
        """Show ``cases`` in their order and mark the one of the class ``chosen``."""
        self._cases, self._chosen = cases, chosen
        spoken = (
            f"{c.name}: start value {c.bias:+z.2f}, for {c.speaks_for:+z.2f}, against "
            f"{c.speaks_against:+z.2f}, score {c.logit:+z.2f}"
            for c in cases
        )
        self.setAccessibleDescription("; ".join(spoken))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return one line a class."""
        return QSize(240, int(len(self._cases) * self._line() + 2))

    minimumSizeHint = sizeHint  # noqa: N815

    def _line(self) -> float:
        return QFontMetricsF(self.font()).height() + 6

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Choose the class that was pressed."""
        if event is not None:
            number = int(event.position().y() // self._line())
            if 0 <= number < len(self._cases):
                self.classPressed.emit(self._cases[number].name)

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint one line a class: name, stacked bar, logit."""
        if not self._cases:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = QFontMetricsF(painter.font())
        name_width = min(max(metrics.horizontalAdvance(c.name) for c in self._cases), self.width() * 0.4)
        number_width = metrics.horizontalAdvance("+00.00")
        area = QRectF(_TEXT_PX + name_width + 8, 0, 0, 0)
        area.setRight(max(self.width() - number_width - 6, area.left() + 4))
        low = min(0.0, *(c.speaks_against + min(c.bias, 0) for c in self._cases))
        high = max(0.0, *(c.speaks_for + max(c.bias, 0) for c in self._cases))
        scale = area.width() / max(high - low, 1e-9)
        for row, case in enumerate(self._cases):
            top = row * self._line()
            is_chosen = case.name == self._chosen
            painter.setPen(QPen(self._palette.text if is_chosen else self._palette.muted))
            flags = Qt.AlignmentFlag.AlignVCenter
            shown = metrics.elidedText(case.name, Qt.TextElideMode.ElideRight, name_width)
            painter.drawText(QRectF(_TEXT_PX, top, name_width + 1, self._line()), flags, shown)
            number = QRectF(area.right() + 6, top, number_width, self._line())
            painter.drawText(number, flags | Qt.AlignmentFlag.AlignRight, f"{case.logit:+z.2f}")
            self._paint_bar(painter, QPointF(area.left() - low * scale, top), case, scale)
        painter.end()

    def _paint_bar(self, painter: QPainter, zero: QPointF, case: ClassContributions, scale: float) -> None:
        """Stack positive parts to the right of zero, negative ones to the left."""
        grey = mixed(self._palette.text, self._palette.back, 0.55)
        top = zero.y() + (self._line() - _BAR_PX) / 2
        ends = {True: zero.x(), False: zero.x()}
        painter.setPen(Qt.PenStyle.NoPen)
        parts: tuple[tuple[float, QColor], ...]
        parts = ((case.bias, grey), (case.speaks_for, FOR), (case.speaks_against, AGAINST))
        for value, colour in parts:
            is_right, length = value >= 0, abs(value) * scale
            start = ends[is_right] if is_right else ends[is_right] - length
            painter.setBrush(colour)
            painter.drawRect(QRectF(start, top, length, _BAR_PX))
            ends[is_right] += length if is_right else -length
        place = zero.x() + case.logit * scale
        painter.setPen(QPen(self._palette.text, 2))
        painter.drawLine(QPointF(place, top - 3), QPointF(place, top + _BAR_PX + 3))
