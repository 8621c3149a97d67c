"""A figure that follows a training: drawn now and then, in the colours of the theme, and told in words."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import Event
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_amil.plugin.training.run_log import TrainingLog
from napari_amil.plugin.window.theme import Palette, mixed, palette

_REDRAW_MS = 500
"""Least time between two drawings."""
_POINTS = 8.0
_MARGIN_PX = {"left": 54, "right": 12}
"""Room for numbers and names beside the axes, however narrow the panel is."""


class LivePlot(QWidget):
    """What every plot of a running training shares; a plot says what its axes are and what they show.

    Parameters
    ----------
    theme
        Name of a napari theme.
    """

    height_px = 300
    name = "Curves of the training"
    margin_px: Mapping[str, int] = {}
    """Margins that differ from the usual ones."""

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = palette(theme)
        self._training: TrainingLog | None = None
        self._drawn: tuple[int, ...] = ()
        figure = Figure(figsize=(3.4, self.height_px / 100))
        self.canvas = FigureCanvasQTAgg(figure)  # type: ignore[no-untyped-call]
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.canvas.setFixedHeight(self.height_px)
        self.canvas.setMinimumWidth(0)
        self.canvas.setAccessibleName(self.name)
        with mpl.rc_context({"font.size": _POINTS}):
            self._make_axes(figure)
            self._paint()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.canvas)
        self.canvas.mpl_connect("resize_event", self._on_resized)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW_MS)
        self._timer.timeout.connect(self._draw)
        self._draw()

    def show_training(self, training: TrainingLog | None) -> None:
        """Show the curves of ``training``, soon; several calls in a moment make one drawing."""
        if training is not self._training:
            self._drawn = ()
        self._training = training
        if self._state() != self._drawn and not self._timer.isActive():
            self._timer.start()

    def set_theme(self, theme: str) -> None:
        """Take the colours of a napari theme."""
        self._palette = palette(theme)
        self._paint()
        self._draw()

    def _on_resized(self, event: Event) -> None:
        """Leave the same room beside the axes at any width."""
        margin, width = {**_MARGIN_PX, **self.margin_px}, max(self.canvas.width(), 1)
        if sum(margin.values()) < width:
            self.canvas.figure.subplots_adjust(left=margin["left"] / width, right=1 - margin["right"] / width)

    def _draw(self) -> None:
        self._drawn = self._state()
        self._show(self._training or TrainingLog())
        self.canvas.draw_idle()  # type: ignore[no-untyped-call]
        self.canvas.setAccessibleDescription(self._in_words())

    def _make_axes(self, figure: Figure) -> None:
        """Make everything that is drawn once; a drawing then only moves it, which is far quicker."""
        raise NotImplementedError

    def _paint(self) -> None:
        """Give everything the colours of the theme."""
        self.canvas.figure.patch.set_facecolor(self._palette.back.name())
        for axes in self.canvas.figure.axes:
            paint_axes(axes, self._palette)

    def _state(self) -> tuple[int, ...]:
        """Return what the drawing depends on."""
        return (len(self._training.epochs) if self._training is not None else 0,)

    def _show(self, training: TrainingLog) -> None:
        """Move everything to where ``training`` stands."""
        raise NotImplementedError

    def _in_words(self) -> str:
        """Return what the curves show, for those who cannot see them."""
        raise NotImplementedError


def paint_axes(ax: Axes, colours: Palette) -> None:
    """Give an axis the colours of the theme."""
    ax.set_facecolor("none")
    text, line = colours.text.name(), mixed(QColor(colours.text), QColor(colours.back), 0.6).name()
    ax.tick_params(colors=text, labelsize=_POINTS, length=3)
    ax.xaxis.label.set_color(text)
    ax.yaxis.label.set_color(text)
    ax.spines[:].set_color(line)
    ax.spines["top"].set_visible(False)
