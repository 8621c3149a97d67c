"""Painted legends: the colour bar with ticks and marks, and the bars of class probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QBrush, QColor, QFontMetricsF, QLinearGradient, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_amil.core.base.columns import column_of
from napari_amil.core.base.types import ANOMALOUS_Q
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA, ColourScale, map_colours
from napari_amil.plugin.window.theme import Palette, mixed, painter_font, palette

_BINS = 48
_BAR_PX = 14
_STRIP_PX = 26
_SIDE_PX = 12
_STOPS = 33
_TEXT_PX = 5
"""Left margin of labels in the themes of napari; painted text has the same."""
_MOST_BARS = 5


@dataclass(frozen=True)
class Marks:
    """Marks on a colour bar.

    Parameters
    ----------
    levels
        Per cents of ``of`` that lie below a value, and this value.
    of
        Which cells.
    threshold
        The value from which on cells have a q below 0.05; None if no cell has.
    is_above
        Whether these are the cells with larger values.
    """

    levels: tuple[tuple[float, float], ...] = ()
    of: str = ""
    threshold: float | None = None
    is_above: bool = True

    def levels_caption(self) -> str:
        """Return the caption of the lines in the bar.

        >>> Marks(((50, 1.2), (99, 4.5)), "control cells").levels_caption()
        'Lines: 50 and 99 % of control cells lie below'
        """
        *first, last = (f"{level:g}" for level, _ in self.levels)
        return f"Lines: {', '.join(first)} and {last} % of {self.of} lie below"

    def words(self) -> list[str]:
        """Return one sentence a mark."""
        sentences = [f"{level:g} % of {self.of} lie below {value:.3g}" for level, value in self.levels]
        if self.threshold is not None:
            side = "above" if self.is_above else "below"
            sentences.append(f"Cells {side} {self.threshold:.3g} have q < {ANOMALOUS_Q:g}")
        return sentences


_NINES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


class ColourBar(QWidget):
    """The colour scale with its numbers, the histogram of cells on it, and the cell under the pointer."""

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = palette(theme)
        self._scale: ColourScale | None = None
        self._counts: NDArray[np.float64] = np.zeros(_BINS)
        self._n_without = 0
        self._range = (0.0, 0.0)
        self._marked: float | None = None
        self._marks = Marks()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size that shows every part."""
        line = QFontMetricsF(painter_font(self, 0.9)).height()
        n_lines = 1 + bool(self._marks.levels) + bool(self._n_without)
        return QSize(240, int(_STRIP_PX + _BAR_PX + n_lines * line + 12))

    minimumSizeHint = sizeHint  # noqa: N815

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_scale(
        self, scale: ColourScale | None, values: NDArray[np.float64], marks: Marks | None = None
    ) -> None:
        """Show ``scale``, how the cells with ``values`` spread over it (NaN: no score), and ``marks``."""
        self._scale, self._marks = scale, marks or Marks()
        if scale is not None:
            place = scale.position(values)
            known = place[np.isfinite(place)]
            self._counts = np.histogram(known, bins=_BINS, range=(0, 1))[0].astype(float)
            self._n_without = len(place) - len(known)
            finite = values[np.isfinite(values)]
            self._range = (finite.min(), finite.max()) if len(finite) else (scale.low, scale.high)
            spoken = f"Colour scale from {scale.low:g} to {scale.high:g}, {len(known)} cells"
            self.setAccessibleDescription("; ".join([spoken, *self._marks.words()]))
            self.setToolTip("\n".join(self._marks.words()))
        self.updateGeometry()
        self.update()

    def mark(self, value: float | None) -> None:
        """Point at ``value`` on the scale; None points at nothing."""
        self._marked = None if value is None or not np.isfinite(value) else float(value)
        self.update()

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint strip, bar, ticks and pointer."""
        if self._scale is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(painter_font(self, 0.9))
        bar = QRectF(_SIDE_PX, _STRIP_PX + 2, self.width() - 2 * _SIDE_PX, _BAR_PX)
        self._paint_strip(painter, bar)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QBrush(_gradient(self._scale, bar)))
        painter.drawRoundedRect(bar, 3, 3)
        self._paint_levels(painter, bar)
        self._paint_ticks(painter, bar)
        self._paint_threshold(painter, bar)
        if self._marked is not None:
            self._paint_pointer(painter, bar, self._marked)
        painter.end()

    def _paint_strip(self, painter: QPainter, bar: QRectF) -> None:
        """Draw a skyline of how many cells lie where; square roots keep rare cells visible."""
        top = np.sqrt(self._counts.max()) if self._counts.any() else 1.0
        width = bar.width() / _BINS
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(mixed(self._palette.muted, self._palette.back, 0.3))
        for number, count in enumerate(self._counts):
            height = (_STRIP_PX - 6) * np.sqrt(count) / top
            if height > 0:
                left = bar.left() + number * width
                painter.drawRect(QRectF(left, bar.top() - 1 - height, max(width - 1, 1), height))

    def _paint_ticks(self, painter: QPainter, bar: QRectF) -> None:
        assert self._scale is not None
        metrics = QFontMetricsF(painter.font())
        line = metrics.height()
        painter.setPen(QPen(self._palette.text))
        for value in scale_ticks(self._scale):
            place = bar.left() + bar.width() * float(self._scale.position(np.array([value]))[0])
            painter.drawLine(QPointF(place, bar.bottom()), QPointF(place, bar.bottom() + 4))
            text = self._tick_text(value)
            left = min(
                max(place - metrics.horizontalAdvance(text) / 2, 0),
                self.width() - metrics.horizontalAdvance(text),
            )
            painter.drawText(QPointF(left, bar.bottom() + 4 + line * 0.85), text)
        self._paint_notes(painter, bar, line)

    def _paint_notes(self, painter: QPainter, bar: QRectF, line: float) -> None:
        """Paint the caption of the lines in the bar, and the number of black cells."""
        base = bar.bottom() + 6 + line
        if self._marks.levels:
            painter.setPen(QPen(self._palette.muted))
            painter.drawText(QPointF(bar.left(), base + line * 0.78), self._marks.levels_caption())
            base += line
        if self._n_without:
            painter.setPen(QPen(self._palette.muted, 1))
            painter.setBrush(QColor.fromRgbF(*UNSCORED_RGBA))
            painter.drawRoundedRect(QRectF(bar.left(), base + line * 0.15, line * 0.8, line * 0.7), 2, 2)
            painter.setPen(QPen(self._palette.muted))
            text = f"{self._n_without:,} cells without this score"
            painter.drawText(QPointF(bar.left() + line * 1.2, base + line * 0.78), text)

    def _paint_levels(self, painter: QPainter, bar: QRectF) -> None:
        """Draw a line through the bar at every percentile that lies on the scale."""
        assert self._scale is not None
        for _, value in self._marks.levels:
            if self._scale.low <= value <= self._scale.high:
                place = bar.left() + bar.width() * float(self._scale.position(np.array([value]))[0])
                painter.setPen(QPen(QColor("black"), 3))
                painter.drawLine(QPointF(place, bar.top() + 1), QPointF(place, bar.bottom() - 1))
                painter.setPen(QPen(QColor("white"), 1.4))
                painter.drawLine(QPointF(place, bar.top() + 1), QPointF(place, bar.bottom() - 1))

    def _paint_threshold(self, painter: QPainter, bar: QRectF) -> None:
        """Draw the threshold above which cells are more unusual than chance explains."""
        value = self._marks.threshold
        if value is None or self._scale is None:
            return
        place = bar.left() + bar.width() * float(self._scale.position(np.array([value]))[0])
        painter.setPen(QPen(self._palette.text, 1.2, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(place, 1), QPointF(place, bar.bottom()))
        metrics = QFontMetricsF(painter.font())
        text = f"q < {ANOMALOUS_Q:g} →" if self._marks.is_above else f"← q < {ANOMALOUS_Q:g}"
        width = metrics.horizontalAdvance(text)
        left = place - width - 4 if place + width + 4 > bar.right() else place + 4
        painter.drawText(QPointF(max(left, 0.0), metrics.ascent()), text)

    def _tick_text(self, value: float) -> str:
        """Return the number of a tick; an end that stands for all values beyond it says so."""
        assert self._scale is not None
        below = value <= self._scale.low and self._range[0] < self._scale.low
        above = value >= self._scale.high and self._range[1] > self._scale.high
        sign = "≤ " if below else "≥ " if above else ""
        return f"{sign}{value:g}"

    def _paint_pointer(self, painter: QPainter, bar: QRectF, value: float) -> None:
        assert self._scale is not None
        place = bar.left() + bar.width() * float(self._scale.position(np.array([value]))[0])
        painter.setPen(QPen(self._palette.back, 1))
        painter.setBrush(self._palette.text)
        tip = QPointF(place, bar.top() + 3)
        painter.drawPolygon(QPolygonF([tip, tip + QPointF(-6, -10), tip + QPointF(6, -10)]))


def scale_ticks(scale: ColourScale) -> list[float]:
    """Return the values that a colour bar names; with equal steps of rarity those with one more nine."""
    if not column_of(scale.column).has_tail:
        return ticks(scale.low, scale.high)
    return [value for value in _NINES if scale.low <= value <= scale.high]


def ticks(low: float, high: float) -> list[float]:
    """Return three to six round values between ``low`` and ``high``.

    >>> ticks(0, 100)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    power = 10.0 ** np.floor(np.log10((high - low) / 4))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if (high - low) / (power * f) <= 5)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(np.round(i * step, 12)) + 0.0 for i in np.arange(first, last + 1)]


def _gradient(scale: ColourScale, bar: QRectF) -> QLinearGradient:
    gradient = QLinearGradient(bar.topLeft(), bar.topRight())
    places = np.linspace(0, 1, _STOPS)
    for place, colour in zip(places, map_colours(scale.colormap, places), strict=True):
        gradient.setColorAt(float(place), QColor.fromRgbF(*(float(part) for part in colour)))
    return gradient


class ProbabilityBars(QWidget):
    """The probability of every class as a small bar with its name and percentage, the likeliest first."""

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette: Palette = palette(theme)
        self._shares: list[tuple[str, float]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_probabilities(self, probability: Mapping[str, float]) -> None:
        """Show the classes, the likeliest first; those beyond the fifth together."""
        ranked = sorted(probability.items(), key=lambda item: -item[1])
        rest = sum(share for _, share in ranked[_MOST_BARS:])
        others = [("all others", rest)] if len(ranked) > _MOST_BARS else []
        self._shares = [*ranked[:_MOST_BARS], *others]
        self.setAccessibleDescription(", ".join(f"{name} {share:.0%}" for name, share in self._shares))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return one line a class."""
        return QSize(240, int(len(self._shares) * self._line() + 2))

    minimumSizeHint = sizeHint  # noqa: N815

    def _line(self) -> float:
        return QFontMetricsF(self.font()).height() + 6

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint one line a class: name, bar, percentage."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = QFontMetricsF(painter.font())
        names = max((metrics.horizontalAdvance(name) for name, _ in self._shares), default=0)
        name_width = min(names, self.width() * 0.5)
        number_width = metrics.horizontalAdvance("100 %")
        left, right = _TEXT_PX + name_width + 8, self.width() - number_width - 6
        for row, (name, share) in enumerate(self._shares):
            top = row * self._line()
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.setPen(QPen(self._palette.text if row == 0 else self._palette.muted))
            shown = metrics.elidedText(name, Qt.TextElideMode.ElideRight, name_width)
            painter.drawText(QRectF(_TEXT_PX, top, name_width + 1, self._line()), middle, shown)
            numbers = QRectF(right + 6, top, number_width, self._line())
            painter.drawText(numbers, middle | Qt.AlignmentFlag.AlignRight, f"{share:.0%}".replace("%", " %"))
            track = QRectF(left, top + self._line() / 2 - 4, max(right - left, 4), 8)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(mixed(self._palette.line, self._palette.back, 0.5))
            painter.drawRoundedRect(track, 4, 4)
            painter.setBrush(self._palette.accent if row == 0 else self._palette.muted)
            filled = QRectF(track)
            filled.setWidth(max(track.width() * share, 3))
            painter.drawRoundedRect(filled, 4, 4)
        painter.end()
