"""A clickable picture of one cell with its outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QAbstractButton, QSizePolicy, QWidget

from napari_amil.plugin.window.theme import Palette, mixed, palette

_EDGE_PX = 1.6
_CORNER_PX = 3
_HALO = QColor(40, 40, 40, 130)
"""Drawn below an outline, so that yellow is seen on white."""
_FRAME = QColor(128, 128, 128, 150)
"""Drawn round a picture, whose white ground a light theme would swallow."""


class Thumbnail(QAbstractButton):
    """The picture of a cell in a square; empty while there is none.

    Parameters
    ----------
    side
        Width and height in pixels.
    """

    def __init__(self, side: int, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._side = side
        self._palette: Palette = palette(theme)
        self._image: QImage | None = None
        self._outline = QPolygonF()
        self._colour = QColor("white")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Picture of a cell")
        self.setEnabled(False)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the square."""
        return QSize(self._side, self._side)

    minimumSizeHint = sizeHint  # noqa: N815

    @property
    def has_picture(self) -> bool:
        """Return whether there is a cell to see."""
        return self._image is not None

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        self._palette = palette(theme)
        self.update()

    def show_picture(
        self,
        pixels: NDArray[np.uint8] | None,
        outline: NDArray[np.float64] | None = None,
        rgba: NDArray[np.float64] | None = None,
    ) -> None:
        """Show ``(side, side, 3)`` pixels, and an outline ``(n, 2)`` y, x in pixels of them in one colour."""
        self._image = None if pixels is None else as_qimage(pixels)
        points = np.empty((0, 2)) if outline is None else np.asarray(outline, float)
        self._outline = QPolygonF([QPointF(float(x), float(y)) for y, x in points])
        if rgba is not None:
            self._colour = QColor.fromRgbF(*(float(part) for part in rgba))
        self.setEnabled(pixels is not None)
        self.update()

    def paintEvent(self, _: QPaintEvent | None) -> None:  # noqa: N802
        """Paint picture, outline and, where the keyboard is, a frame."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        square = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        if self._image is None:
            painter.setPen(QPen(mixed(self._palette.line, self._palette.back, 0.4), 1, Qt.PenStyle.DotLine))
            painter.drawRoundedRect(square, _CORNER_PX, _CORNER_PX)
            painter.end()
            return
        paint_picture(painter, square, self._image, self._outline, self._colour)
        if self.hasFocus() or self.underMouse():
            painter.setPen(QPen(self._palette.accent, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(square, _CORNER_PX, _CORNER_PX)
        painter.end()


def paint_picture(
    painter: QPainter, square: QRectF, image: QImage, outline: QPolygonF, colour: QColor
) -> None:
    """Draw an image into ``square``, with an outline given in pixels of the image."""
    painter.drawImage(square, image)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    painter.setPen(_FRAME)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(square)
    painter.restore()
    if outline.isEmpty():
        return
    factor = square.width() / image.width()
    scaled = QPolygonF(
        [square.topLeft() + point * factor for point in map(outline.at, range(outline.count()))]
    )
    painter.save()
    painter.setClipRect(square)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for pen in (QPen(_HALO, _EDGE_PX + 1.6), QPen(colour, _EDGE_PX)):
        painter.setPen(pen)
        painter.drawPolygon(scaled)
    painter.restore()


def as_qimage(pixels: NDArray[np.uint8]) -> QImage:
    """Return ``(height, width, 3)`` RGB pixels as an image that owns its memory."""
    height, width = pixels.shape[:2]
    lines = np.ascontiguousarray(pixels[..., :3])
    return QImage(lines.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
