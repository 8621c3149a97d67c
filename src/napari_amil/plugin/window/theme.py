"""Colours and sizes of the panels, taken from the napari theme, dark or light."""

from __future__ import annotations

from dataclasses import dataclass

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QFont
from qtpy.QtWidgets import QLabel, QWidget

PAGE_MARGINS = (4, 6, 4, 4)
"""Left, top, right and bottom of a page within a panel that has margins of its own, in pixels."""
NOTICE = {
    "error": "border-left: 3px solid #d64545; padding: 2px 0px 2px 8px;",
    "warning": "border-left: 3px solid #e3b617; padding: 2px 0px 2px 8px;",
    "": "padding: 2px 0px;",
}
"""Style of a sentence of each kind."""
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Palette:
    """The colours that painted widgets need."""

    text: QColor
    muted: QColor
    line: QColor
    accent: QColor
    back: QColor


def palette(theme: str) -> Palette:
    """Return the colours of the napari theme called ``theme``."""
    found = get_theme(theme)
    text, back = _colour(found.text), _colour(found.background)
    return Palette(text, mixed(text, back, 0.35), _colour(found.highlight), _colour(found.current), back)


def mixed(first: QColor, second: QColor, share: float) -> QColor:
    """Return ``first`` with ``share`` of ``second`` in it."""
    parts = zip(first.getRgbF()[:3], second.getRgbF()[:3], strict=True)
    return QColor.fromRgbF(*(a * (1 - share) + b * share for a, b in parts))


def sized(label: QLabel, factor: float, *, bold: bool = False) -> QLabel:
    """Return ``label`` with its letters made larger or smaller than those of the theme."""
    weight = "font-weight: 600;" if bold else ""
    label.setStyleSheet(f"QLabel {{ font-size: {_base_points(label) * factor:.1f}pt; {weight} }}")
    return label


class _Wrapped(QLabel):
    """Breaks its lines, but never between a number and its per cent."""

    def setText(self, text: str | None) -> None:  # noqa: N802 - Qt's manner
        """Show ``text``."""
        super().setText((text or "").replace(" %", f"{_NO_BREAK}%"))

    def text(self) -> str:
        """Return the text as it was given."""
        return super().text().replace(_NO_BREAK, " ")


def wrapped(text: str = "") -> QLabel:
    """Return a label that breaks its lines and whose text can be copied."""
    label = _Wrapped()
    label.setText(text)
    label.setWordWrap(True)
    label.setMinimumWidth(0)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def painter_font(widget: QWidget, factor: float) -> QFont:
    """Return the font of ``widget``, scaled."""
    font = QFont(widget.font())
    font.setPointSizeF(max(font.pointSizeF(), 1.0) * factor)
    return font


def _base_points(widget: QWidget) -> float:
    points = widget.font().pointSizeF()
    return points if points > 0 else 9.0


def _colour(theme_colour: object) -> QColor:
    red, green, blue = theme_colour.as_rgb_tuple()[:3]  # type: ignore[attr-defined]
    return QColor(int(red), int(green), int(blue))
