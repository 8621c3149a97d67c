"""Numbers with a sign as bars to either side of a line."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_amil.plugin.window.theme import Palette, mixed, palette

FOR, AGAINST = QColor("#d8743c"), QColor("#4f83c4")
"""Colours of what speaks for and against a class; people with a colour-vision deficiency tell them apart."""
_TEXT_PX = 5
_BAR_PX = 8


class SignedBars(QWidget):
    """One line a name: its bar to the right of the middle where it is positive, else to the left."""

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette: Palette = palette(theme)
        self._values: list[tuple[str, float]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_values(self, values: Mapping[str, float]) -> None:
        """Show ``name -> value`` in the given order."""
        self._values = [(name, float(value)) for name, value in values.items()]
        self.setAccessibleDescription(", ".join(f"{name} {value:+.2f}" for name, value in self._values))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return one line a name."""
        return QSize(240, int(len(self._values) * self._line() + 2))

    minimumSizeHint = sizeHint  # noqa: N815

    def _line(self) -> float:
        return QFontMetricsF(self.font()).height() + 3

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint one line a name: name, bar, number."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = QFontMetricsF(painter.font())
        widest = max((metrics.horizontalAdvance(name) for name, _ in self._values), default=0.0)
        name_width, number_width = min(widest, self.width() * 0.45), metrics.horizontalAdvance("+00.00")
        left, right = _TEXT_PX + name_width + 8, self.width() - number_width - 6
        middle, half = (left + right) / 2, max((right - left) / 2, 2)
        reach = max((abs(value) for _, value in self._values), default=0.0) or 1.0
        flags = Qt.AlignmentFlag.AlignVCenter
        for row, (name, value) in enumerate(self._values):
            top = row * self._line()
            painter.setPen(QPen(self._palette.text))
            shown = metrics.elidedText(name, Qt.TextElideMode.ElideRight, name_width)
            painter.drawText(QRectF(_TEXT_PX, top, name_width + 1, self._line()), flags, shown)
            number = QRectF(right + 6, top, number_width, self._line())
            painter.drawText(number, flags | Qt.AlignmentFlag.AlignRight, f"{value:+.2f}")
            length = half * abs(value) / reach
            start = middle if value >= 0 else middle - length
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(FOR if value >= 0 else AGAINST)
            painter.drawRect(QRectF(start, top + (self._line() - _BAR_PX) / 2, length, _BAR_PX))
        painter.setPen(QPen(mixed(self._palette.text, self._palette.back, 0.5), 1))
        painter.drawLine(QPointF(middle, 0), QPointF(middle, len(self._values) * self._line()))
        painter.end()
