"""The logit of one class as a waterfall: bias, then contribution by contribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QFontMetricsF, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_amil.plugin.layers.selection import CellKey
from napari_amil.plugin.reasons.charts import AGAINST, FOR
from napari_amil.plugin.reasons.thumbnail import paint_picture
from napari_amil.plugin.window.theme import Palette, mixed, palette

_PICTURE_PX = 26
_LINE_PX = 29
_PLAIN_PX = 20
_BAR_PX = 9


@dataclass(frozen=True)
class WaterfallStep:
    """One line: a contribution; of a cell also its key and its picture. The last line is the sum."""

    name: str
    value: float
    key: CellKey | None = None
    picture: QImage | None = None
    outline: QPolygonF | None = None


class Waterfall(QWidget):
    """Lines whose bars begin where the bar above ends; a press on a cell chooses it."""

    cellPressed = Signal(object)  # noqa: N815 - Qt's manner; a `CellKey`

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette: Palette = palette(theme)
        self._steps: Sequence[WaterfallStep] = ()
        self._total: WaterfallStep | None = None
        self._marked: CellKey | None = None
        self._at = -1
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setToolTip(
            "What each adds to the score (no unit). Press a cell, or Up, Down and Enter, to go there."
        )

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_steps(self, steps: Sequence[WaterfallStep], total: WaterfallStep | None) -> None:
        """Show the contributions line by line, and the sum as the last line."""
        self._steps, self._total, self._at = steps, total, -1
        lines = [*steps, *([total] if total is not None else [])]
        self.setAccessibleDescription(", ".join(f"{step.name} {step.value:+.3f}" for step in lines))
        self.updateGeometry()
        self.update()

    def mark(self, key: CellKey | None) -> None:
        """Mark the line of the cell that is looked at elsewhere."""
        self._marked = key
        self.update()

    @property
    def steps(self) -> Sequence[WaterfallStep]:
        """The added terms, without the sum."""
        return self._steps

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the height of all lines."""
        return QSize(240, int(sum(self._heights()) + 2))

    minimumSizeHint = sizeHint  # noqa: N815

    def _heights(self) -> list[float]:
        heights = [_LINE_PX if step.key is not None else _PLAIN_PX for step in self._steps]
        return [float(height) for height in (*heights, *([_PLAIN_PX + 4] if self._total else []))]

    def _line_at(self, y: float) -> int:
        ends = accumulate(self._heights())
        return next((number for number, end in enumerate(ends) if y < end), -1)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Light up the cell under the pointer."""
        if event is not None:
            number = self._line_at(event.position().y())
            self._light(number if self._key_of(number) is not None else -1)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Choose the cell that was pressed."""
        key = self._key_of(self._line_at(event.position().y())) if event is not None else None
        if key is not None:
            self.cellPressed.emit(key)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Move the light with Up and Down; choose with Enter or Space."""
        if event is None:
            return
        cells = [number for number in range(len(self._steps)) if self._key_of(number) is not None]
        move = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
        if move is not None and cells:
            place = cells.index(self._at) + move if self._at in cells else 0
            self._light(cells[max(0, min(place, len(cells) - 1))])
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            key = self._key_of(self._at)
            if key is not None:
                self.cellPressed.emit(key)
        else:
            super().keyPressEvent(event)

    def _key_of(self, number: int) -> CellKey | None:
        return self._steps[number].key if 0 <= number < len(self._steps) else None

    def _light(self, number: int) -> None:
        if number != self._at:
            self._at = number
            self.setCursor(Qt.CursorShape.PointingHandCursor if number >= 0 else Qt.CursorShape.ArrowCursor)
            self.update()

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint the lines."""
        if self._total is None:
            return
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        sums = [0.0, *accumulate(step.value for step in self._steps)]
        low, high = min(0.0, *sums, self._total.value), max(0.0, *sums, self._total.value)
        metrics = QFontMetricsF(painter.font())
        names = max(metrics.horizontalAdvance(step.name) for step in (*self._steps, self._total))
        left = min(_PICTURE_PX + 12 + names + 8, self.width() * 0.55)
        right = self.width() - metrics.horizontalAdvance("+00.000") - 6
        scale = max(right - left, 4) / max(high - low, 1e-9)
        zero, top = left - low * scale, 0.0
        heights = self._heights()
        painter.setPen(QPen(mixed(self._palette.text, self._palette.back, 0.7), 1, Qt.PenStyle.DotLine))
        painter.drawLine(QPointF(zero, 0), QPointF(zero, sum(heights)))
        spans = [*pairwise(sums), (0.0, self._total.value)]
        for number, (step, (begin, end)) in enumerate(zip((*self._steps, self._total), spans, strict=True)):
            line = QRectF(0, top, self.width(), heights[number])
            self._paint_line(painter, line, step, left, number)
            bar = QRectF(zero + min(begin, end) * scale, line.center().y() - _BAR_PX / 2, 0, _BAR_PX)
            bar.setWidth(max(abs(end - begin) * scale, 1))
            painter.setPen(Qt.PenStyle.NoPen)
            is_cell = step.key is not None or step is self._steps[-1]
            plain = (
                self._palette.accent
                if step is self._total
                else mixed(self._palette.text, self._palette.back, 0.55)
            )
            painter.setBrush(
                (FOR if step.value >= 0 else AGAINST) if is_cell and step is not self._total else plain
            )
            painter.drawRect(bar)
            top += heights[number]
        painter.end()

    def _paint_line(
        self, painter: QPainter, line: QRectF, step: WaterfallStep, left: float, number: int
    ) -> None:
        """Draw ground, picture, name and number of one line."""
        if number == self._at or (step.key is not None and step.key == self._marked):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(mixed(self._palette.accent, self._palette.back, 0.7))
            painter.drawRoundedRect(line, 3, 3)
        if step.picture is not None:
            square = QRectF(4, line.top() + (line.height() - _PICTURE_PX) / 2, _PICTURE_PX, _PICTURE_PX)
            paint_picture(painter, square, step.picture, step.outline or QPolygonF(), FOR)
        painter.setPen(QPen(self._palette.text))
        flags = Qt.AlignmentFlag.AlignVCenter
        start = _PICTURE_PX + 10.0 if step.key is not None else 5.0
        width = max(left - start - 4, 4)
        name = QFontMetricsF(painter.font()).elidedText(step.name, Qt.TextElideMode.ElideRight, width)
        painter.drawText(QRectF(start, line.top(), width, line.height()), flags, name)
        painter.drawText(line, flags | Qt.AlignmentFlag.AlignRight, f"{step.value:+.3f}")
