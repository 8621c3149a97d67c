"""A scrolling grid of thumbnails of any length; only visible ones are loaded and painted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPoint, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QHelpEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import QAbstractScrollArea, QToolTip, QWidget

from napari_amil.plugin.window.theme import painter_font, palette

_GAP_PX = 6
_FRAME_PX = 3
_CAPTION = 0.85
SIZES_PX = (48, 224)
"""The smallest and the largest thumbnail on the screen."""


@dataclass(frozen=True)
class GridItem:
    """One item of the grid: its picture (None while it loads), caption and colour."""

    picture: QImage | None
    caption: str
    colour: QColor
    missing: str = ""
    """Reason why there is no picture; empty where there is or will be one."""


class ThumbnailGrid(QAbstractScrollArea):
    """Paints tiles row by row; chosen with the mouse or the keyboard as in a file manager.

    Parameters
    ----------
    tile
        Returns the tile at a position; called for positions on the screen only.
    describe
        Returns what the tool tip and a screen reader say about a position.
    theme
        Name of the napari theme.
    """

    chosen = Signal()
    """The user chose other items, or looks at another one."""
    opened = Signal(int)
    """The user wants to see this item in its image."""
    numbered = Signal(int)
    """A digit was pressed while items are chosen."""
    sizeChanged = Signal(int)  # noqa: N815 - Qt's manner
    """Ctrl and wheel changed the side of the thumbnails."""

    def __init__(
        self,
        tile: Callable[[int], GridItem],
        describe: Callable[[int], str],
        theme: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        port, bar = self.viewport(), self.verticalScrollBar()
        assert port is not None
        assert bar is not None
        self._port, self._bar = port, bar
        self._tile, self._describe = tile, describe
        self._palette = palette(theme)
        self._count, self._side = 0, 88
        self._is_chosen: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._anchor = 0
        self.current = -1
        self.empty_text = ""
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setAccessibleName("Gallery of cells")
        self._port.setAutoFillBackground(False)
        self._set_range()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size with room for some rows of thumbnails."""
        return QSize(320, 420)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a size with room for one thumbnail."""
        return QSize(150, 150)

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self._port.update()

    def repaint_tiles(self) -> None:
        """Ask for the tiles on the screen again."""
        self._port.update()

    def set_count(self, count: int, *, keep_place: bool = False) -> None:
        """Show ``count`` items; nothing is chosen, and the first row is on top unless the place is kept."""
        self._count, self.current, self._anchor = count, -1, 0
        self._is_chosen = np.zeros(count, dtype=bool)
        self._set_range()
        if not keep_place:
            self._bar.setValue(0)
        self._port.update()

    def set_side(self, side_px: int) -> None:
        """Set the side of the thumbnails; the current cell, or else the top row, stays visible."""
        kept = self.current if self.current >= 0 else self.visible().start
        self._side = int(np.clip(side_px, *SIZES_PX))
        self._set_range()
        if self._count:
            self.reveal(kept)
        self._port.update()

    @property
    def side(self) -> int:
        """Side of the thumbnails in pixels of the screen."""
        return self._side

    def positions(self) -> list[int]:
        """Return the chosen positions."""
        return np.flatnonzero(self._is_chosen).tolist()

    def show_chosen(self, positions: Iterable[int], current: int, *, reveal: bool = True) -> None:
        """Select ``positions``, and scroll to ``current`` (-1 for none); emits nothing."""
        self._is_chosen = np.zeros(self._count, dtype=bool)
        self._is_chosen[list(positions)] = True
        if reveal and current >= 0 and current != self.current:
            self.reveal(current)
        self.current = current
        self._anchor = max(current, 0)
        self._say()
        self._port.update()

    def reveal(self, position: int) -> None:
        """Scroll as little as needed to show ``position`` whole."""
        top = position // self.columns * self._row_px
        bar = self._bar
        below = top + self._row_px - self._port.height()
        bar.setValue(min(max(bar.value(), below), top))

    def visible(self) -> range:
        """Return the positions that are on the screen."""
        start = self._bar.value()
        first = start // self._row_px * self.columns
        last = ((start + self._port.height()) // self._row_px + 1) * self.columns
        return range(min(first, self._count), min(last, self._count))

    @property
    def columns(self) -> int:
        """Number of thumbnails side by side."""
        return max((self._port.width() - _GAP_PX) // (self._side + _GAP_PX), 1)

    @property
    def _row_px(self) -> int:
        return self._side + self._caption_px() + _GAP_PX

    def _caption_px(self) -> int:
        return int(1.35 * self.fontMetrics().height() * _CAPTION) + _FRAME_PX

    def place_of(self, position: int) -> QRect:
        """Return the place of a position in the viewport."""
        row, column = divmod(position, self.columns)
        spare = self._port.width() - self.columns * (self._side + _GAP_PX)
        left = max(spare // 2, 0) + _GAP_PX // 2 + column * (self._side + _GAP_PX)
        top = row * self._row_px - self._bar.value() + _GAP_PX // 2
        return QRect(left, top, self._side, self._row_px - _GAP_PX)

    def position_at(self, point: QPoint) -> int:
        """Return the position under a point of the viewport, -1 where there is none."""
        near = self.visible()
        return next((position for position in near if self.place_of(position).contains(point)), -1)

    def _set_range(self) -> None:
        rows = -(-self._count // self.columns)
        page = max(self._port.height(), 1)
        bar = self._bar
        bar.setRange(0, max(rows * self._row_px + _GAP_PX - page, 0))
        bar.setPageStep(page)
        bar.setSingleStep(self._row_px // 2)

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Update the layout and keep the top row on top."""
        super().resizeEvent(event)
        old_width = event.oldSize().width() if event is not None else 0
        old_columns = max((old_width - _GAP_PX) // (self._side + _GAP_PX), 1)
        top = self._bar.value() // self._row_px * old_columns
        self._set_range()
        if old_columns != self.columns and self._count:
            self._bar.setValue(top // self.columns * self._row_px)

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint the tiles that are on the screen."""
        painter = QPainter(self._port)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.fillRect(self._port.rect(), self._palette.back)
        painter.setFont(painter_font(self, _CAPTION))
        if not self._count:
            painter.setPen(self._palette.muted)
            room = self._port.rect().adjusted(16, 16, -16, -16)
            painter.drawText(room, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self.empty_text)
        for position in self.visible():
            self._paint_tile(painter, position, self._tile(position))
        painter.end()

    def _paint_tile(self, painter: QPainter, position: int, tile: GridItem) -> None:
        place = self.place_of(position)
        square = QRect(place.left(), place.top(), self._side, self._side)
        if tile.picture is not None:
            painter.drawImage(square, tile.picture)
        else:
            painter.fillRect(square, self._palette.line)
            painter.setPen(self._palette.muted)
            painter.drawText(square.adjusted(3, 3, -3, -3), _CENTRED, tile.missing)
        strip = QRect(place.left(), square.bottom() + 1, self._side, _FRAME_PX)
        painter.fillRect(strip, tile.colour)
        painter.setPen(self._palette.text)
        below = QRectF(place.left(), strip.bottom() + 1, self._side, place.bottom() - strip.bottom())
        painter.drawText(below, _CENTRED_LINE, tile.caption)
        if self._is_chosen[position]:
            self._paint_frame(painter, place, self._palette.accent, _FRAME_PX)
        if position == self.current:
            self._paint_frame(painter, place, self._palette.text, 1)

    def _paint_frame(self, painter: QPainter, place: QRect, colour: QColor, width: int) -> None:
        painter.setPen(QPen(colour, width))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(place.adjusted(-1, -1, 1, 1))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Choose: alone, with Ctrl one more or less, with Shift all from the last one on."""
        if event is None or event.button() != Qt.MouseButton.LeftButton:
            return
        position = self.position_at(event.position().toPoint())
        if position >= 0:
            self._choose(position, event.modifiers())
            if not event.modifiers() & (_CTRL | _SHIFT):
                self.opened.emit(position)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Move by arrows, Home, End, page keys; Enter opens, Ctrl+A chooses all, Escape none, digits name."""
        if event is None or not self._count:
            return
        key, page = event.key(), max(self._port.height() // self._row_px, 1) * self.columns
        steps = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -self.columns,
            Qt.Key.Key_Down: self.columns,
            Qt.Key.Key_PageUp: -page,
            Qt.Key.Key_PageDown: page,
            Qt.Key.Key_Home: -self._count,
            Qt.Key.Key_End: self._count,
        }
        if key in steps:
            target = self.current + steps[Qt.Key(key)] if self.current >= 0 else self.visible().start
            target = int(np.clip(target, 0, self._count - 1))
            self._choose(target, event.modifiers() & _SHIFT)
            self.reveal(target)
        elif key in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and self.current >= 0:
            self.opened.emit(self.current)
        elif key == Qt.Key.Key_Space and self.current >= 0:
            self._choose(self.current, _CTRL)
        elif key == Qt.Key.Key_A and event.modifiers() & _CTRL:
            self._is_chosen[:] = True
            self._tell()
        elif key == Qt.Key.Key_Escape:
            self._is_chosen[:] = False
            self._tell()
        elif Qt.Key.Key_0 <= key <= Qt.Key.Key_9 and self._is_chosen.any():
            self.numbered.emit(key - Qt.Key.Key_0)
        else:
            super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """Scroll; with Ctrl make the thumbnails larger or smaller."""
        if event is not None and event.modifiers() & _CTRL:
            self.set_side(self._side + (8 if event.angleDelta().y() > 0 else -8))
            self.sizeChanged.emit(self._side)
            event.accept()
            return
        super().wheelEvent(event)

    def viewportEvent(self, event: QEvent | None) -> bool:  # noqa: N802
        """Show the details of the cell under the pointer."""
        if isinstance(event, QHelpEvent):
            position = self.position_at(event.pos())
            QToolTip.showText(event.globalPos(), self._describe(position) if position >= 0 else "", self)
            return True
        return bool(super().viewportEvent(event))

    def _choose(self, position: int, modifiers: Qt.KeyboardModifier) -> None:
        if modifiers & _SHIFT:
            self._is_chosen[:] = False
            low, high = sorted((self._anchor, position))
            self._is_chosen[low : high + 1] = True
        elif modifiers & _CTRL:
            self._is_chosen[position] ^= True
            self._anchor = position
        else:
            self._is_chosen[:] = False
            self._is_chosen[position] = True
            self._anchor = position
        self.current = position
        self._tell()

    def _tell(self) -> None:
        self._say()
        self._port.update()
        self.chosen.emit()

    def _say(self) -> None:
        """Give the current cell to a screen reader."""
        self.setAccessibleDescription(self._describe(self.current) if self.current >= 0 else "")


_CTRL, _SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
_CENTRED = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
_CENTRED_LINE = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine
