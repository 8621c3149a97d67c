"""Small painted charts: bars with a sign, and curves of shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_amil.plugin.window.theme import Palette, mixed, painter_font, palette

FOR, AGAINST = QColor("#d8743c"), QColor("#4f83c4")
"""Colours of contributions for and against a class, distinct with a colour-vision deficiency too."""
_TEXT_PX = 5
_BAR_PX = 8
Curve = tuple[Sequence[float], Sequence[float]]
_PLOT_PX = 118
_LEFT_PX, _RIGHT_PX, _TOP_PX = 44, 8, 6
_COLOURS = (FOR, AGAINST, QColor("#3f9e6e"), QColor("#9068b0"))


class SignedBars(QWidget):
    """One line a name: its bar to the right of the middle where it is positive, else to the left.

    The ends stand for the largest value of all that are compared, which is given with them.
    """

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette: Palette = palette(theme)
        self._values: list[tuple[str, float]] = []
        self._reach = 1.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_values(self, values: Mapping[str, float], reach: float = 0.0) -> None:
        """Show ``name -> value`` in the given order; a bar of the whole width is ``reach`` long or longer."""
        self._values = [(name, float(value)) for name, value in values.items()]
        self._reach = max([reach, *(abs(value) for _, value in self._values)]) or 1.0
        self.setAccessibleDescription(", ".join(f"{name} {value:+z.2f}" for name, value in self._values))
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
        flags = Qt.AlignmentFlag.AlignVCenter
        for row, (name, value) in enumerate(self._values):
            top = row * self._line()
            painter.setPen(QPen(self._palette.text))
            shown = metrics.elidedText(name, Qt.TextElideMode.ElideRight, name_width)
            painter.drawText(QRectF(_TEXT_PX, top, name_width + 1, self._line()), flags, shown)
            number = QRectF(right + 6, top, number_width, self._line())
            painter.drawText(number, flags | Qt.AlignmentFlag.AlignRight, f"{value:+z.2f}")
            length = half * abs(value) / self._reach
            start = middle if value >= 0 else middle - length
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(FOR if value >= 0 else AGAINST)
            painter.drawRect(QRectF(start, top + (self._line() - _BAR_PX) / 2, length, _BAR_PX))
        painter.setPen(QPen(mixed(self._palette.text, self._palette.back, 0.5), 1))
        painter.drawLine(QPointF(middle, 0), QPointF(middle, len(self._values) * self._line()))
        painter.end()


class LineChart(QWidget):
    """Curves with a legend below; the one called ``dashed`` is the reference."""

    def __init__(self, across: str, dashed: str, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._across, self._dashed = across, dashed
        self._palette: Palette = palette(theme)
        self._curves: Mapping[str, Curve] = {}
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_curves(self, curves: Mapping[str, Curve]) -> None:
        """Show ``name -> (x, y)``, both 0 to 1."""
        self._curves = curves
        spoken = (f"{name} from {y[0]:.0%} to {y[-1]:.0%}" for name, (_, y) in curves.items())
        self.setAccessibleDescription(", ".join(spoken))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return plot, axis and two columns of legend."""
        return QSize(240, int(_TOP_PX + _PLOT_PX + self._line() * (2.4 + (len(self._curves) + 1) // 2)))

    minimumSizeHint = sizeHint  # noqa: N815

    def _line(self) -> float:
        return QFontMetricsF(painter_font(self, 0.9)).height()

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint grid, curves and legend."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(painter_font(self, 0.9))
        plot = QRectF(_LEFT_PX, _TOP_PX, self.width() - _LEFT_PX - _RIGHT_PX, _PLOT_PX)
        self._paint_axes(painter, plot)
        for number, (name, (x, y)) in enumerate(self._curves.items()):
            pen = self._pen(number, name)
            painter.setPen(pen)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            points = zip(x, y, strict=True)
            places = [
                QPointF(plot.left() + a * plot.width(), plot.bottom() - b * plot.height()) for a, b in points
            ]
            painter.drawPolyline(QPolygonF(places))
            column, row = number % 2, number // 2
            left = 5 + column * self.width() / 2
            middle = plot.bottom() + self._line() * (2.7 + row)
            painter.drawLine(QPointF(left, middle), QPointF(left + 16, middle))
            painter.setPen(QPen(self._palette.text))
            painter.drawText(QPointF(left + 22, middle + self._line() * 0.3), name)
        painter.end()

    def _pen(self, number: int, name: str) -> QPen:
        if name == self._dashed:
            return QPen(self._palette.muted, 2, Qt.PenStyle.DashLine)
        return QPen(_COLOURS[number % len(_COLOURS)], 2)

    def _paint_axes(self, painter: QPainter, plot: QRectF) -> None:
        line = self._line()
        for share in (0.0, 0.5, 1.0):
            y, x = plot.bottom() - share * plot.height(), plot.left() + share * plot.width()
            painter.setPen(QPen(mixed(self._palette.text, self._palette.back, 0.75), 1))
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            painter.setPen(QPen(self._palette.muted))
            text = f"{100 * share:.0f} %"
            box = QRectF(0, y - line / 2, _LEFT_PX - 5, line)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)
            width = QFontMetricsF(painter.font()).horizontalAdvance(text)
            left = min(x - width / 2, self.width() - width)
            painter.drawText(QPointF(left, plot.bottom() + line), text)
        across = QRectF(plot.left(), plot.bottom() + line * 1.2, plot.width(), line)
        painter.drawText(across, Qt.AlignmentFlag.AlignCenter, self._across)
