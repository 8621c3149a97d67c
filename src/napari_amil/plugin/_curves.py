"""The curves of a training while it runs: losses, weight of the SIC loss, distances of control cells."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_amil.core.events import ControlDistances
from napari_amil.plugin._run_log import TrainingLog
from napari_amil.plugin._theme import Palette, mixed, palette

_REDRAW_MS = 400
"""Least time between two drawings."""
_TRAINING, _VALIDATION, _WEIGHT = "#56B4E9", "#E69F00", "#CC79A7"
_HEIGHT_PX = 300
_POINTS = 8.0
_SIZE_INCHES = (3.4, 3.0)
_MARGINS = {"left": 0.15, "right": 0.88, "top": 0.93, "bottom": 0.13, "hspace": 0.55}
_MANY_EPOCHS = 400


class Curves(QWidget):
    """Two plots below each other: the losses of every epoch, and where the control cells lie."""

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = palette(theme)
        self._training: TrainingLog | None = None
        self._drawn = (-1, -1)
        figure = Figure(figsize=_SIZE_INCHES)
        self.canvas = FigureCanvasQTAgg(figure)  # type: ignore[no-untyped-call]
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.canvas.setFixedHeight(_HEIGHT_PX)
        self.canvas.setMinimumWidth(0)
        self.canvas.setAccessibleName("Curves of the training")
        grid = figure.add_gridspec(2, 1, height_ratios=(1.6, 1.0), **_MARGINS)
        self.losses: Axes = figure.add_subplot(grid[0])
        self.weight: Axes = self.losses.twinx()
        self.controls: Axes = figure.add_subplot(grid[1])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.canvas)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW_MS)
        self._timer.timeout.connect(self._draw)
        self._draw()

    def show_training(self, training: TrainingLog | None) -> None:
        """Show the curves of ``training``, soon; several calls in a moment make one drawing."""
        if training is not self._training:
            self._drawn = (-1, -1)
        self._training = training
        if self._state() != self._drawn and not self._timer.isActive():
            self._timer.start()

    def set_theme(self, theme: str) -> None:
        """Take the colours of a napari theme."""
        self._palette = palette(theme)
        self._draw()

    def _state(self) -> tuple[int, int]:
        """Return what the drawing depends on."""
        training = self._training
        if training is None:
            return 0, 0
        return len(training.epochs), sum(each.epoch + 1 for each in training.distances)

    def _draw(self) -> None:
        self._drawn = self._state()
        with mpl.rc_context({"font.size": _POINTS}):
            self._draw_losses(self._training or TrainingLog())
            self._draw_controls(self._training or TrainingLog())
            self.canvas.figure.patch.set_facecolor(self._palette.back.name())
        self.canvas.draw_idle()  # type: ignore[no-untyped-call]
        self.canvas.setAccessibleDescription(self._in_words())

    def _draw_losses(self, training: TrainingLog) -> None:
        ax, weight = self.losses, self.weight
        for each in (ax, weight):
            each.clear()
            _paint(each, self._palette)
        epochs = sorted(training.epochs)
        reports = [training.epochs[epoch] for epoch in epochs]
        shown = np.array(epochs) + 1
        style: dict[str, Any] = {"linewidth": 1.6, "marker": "." if len(epochs) < 12 else ""}
        thin = max(len(epochs) // _MANY_EPOCHS, 1)
        train = np.array([report.train_loss for report in reports])
        ax.plot(shown[::thin], train[::thin], color=_TRAINING, label="training", **style)
        validation = np.array([report.validation_loss for report in reports])
        if np.isfinite(validation).any():
            ax.plot(shown[::thin], validation[::thin], color=_VALIDATION, label="validation", **style)
        beta = np.array([report.sic_weight for report in reports])
        line: dict[str, Any] = {"color": _WEIGHT, "linewidth": 1.0, "linestyle": (0, (4, 2))}
        weight.plot(shown[::thin], beta[::thin], label="SIC weight", **line)
        weight.set(ylim=(-0.03, 1.05), yticks=(0, 0.5, 1))
        weight.yaxis.tick_right()
        n_epochs = reports[-1].n_epochs if reports else 1
        ax.set(xlim=(0.5, max(n_epochs, 2) + 0.5), xlabel="epoch", ylabel="loss")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=2))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        self._mark_phases(training, n_epochs)
        handles = [*ax.get_lines()[: 1 + bool(np.isfinite(validation).any())], *weight.get_lines()]
        if epochs:
            look: dict[str, Any] = {"handlelength": 1.3, "columnspacing": 0.9, "borderaxespad": 0.2}
            look |= {"labelcolor": self._palette.text.name(), "frameon": False}
            ax.legend(handles=handles, ncols=3, loc="lower left", bbox_to_anchor=(-0.12, 1.0), **look)

    def _mark_phases(self, training: TrainingLog, n_epochs: int) -> None:
        """Shade the epochs over single cells, whose loss is another one."""
        of_cells = [epoch for epoch, report in training.epochs.items() if "bag_loss" not in report.metrics]
        if of_cells and max(of_cells) + 1 < n_epochs:
            end = max(of_cells) + 1.5
            self.losses.axvspan(0.5, end, color=self._palette.muted.name(), alpha=0.13, linewidth=0)
            style: dict[str, Any] = {"va": "top", "ha": "left", "color": self._palette.muted.name()}
            place = self.losses.get_xaxis_transform()
            self.losses.text(0.5 + 0.02 * n_epochs, 0.96, "single cells", transform=place, **style)

    def _draw_controls(self, training: TrainingLog) -> None:
        ax = self.controls
        ax.clear()
        _paint(ax, self._palette)
        for number, found in enumerate(training.distances):
            is_last = number == len(training.distances) - 1
            _histogram(ax, found, _TRAINING if is_last else self._palette.muted.name(), is_last=is_last)
        ax.set(xlabel="distance of control cells to their Gaussian", ylabel="cells")
        ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        ax.xaxis.set_major_locator(MaxNLocator(6))
        ax.set_ylim(bottom=0)
        if not training.distances:
            ax.set(xticks=[], yticks=[])
            words = "drawn when the Gaussian is fitted"
            style: dict[str, Any] = {"ha": "center", "va": "center", "color": self._palette.muted.name()}
            ax.text(0.5, 0.5, words, transform=ax.transAxes, **style)

    def _in_words(self) -> str:
        """Return what the curves show, for those who cannot see them."""
        last = self._training.last if self._training is not None else None
        if last is None:
            return "No epoch is over yet."
        validation = "" if np.isnan(last.validation_loss) else f", validation loss {last.validation_loss:.3g}"
        return (
            f"Epoch {last.epoch + 1} of {last.n_epochs}: training loss {last.train_loss:.3g}{validation}, "
            f"weight of the single-instance loss {last.sic_weight:.2g}."
        )


def _paint(ax: Axes, colours: Palette) -> None:
    """Give an axis the colours of the theme."""
    ax.set_facecolor("none")
    text, line = colours.text.name(), mixed(QColor(colours.text), QColor(colours.back), 0.6).name()
    ax.tick_params(colors=text, labelsize=_POINTS, length=3)
    ax.xaxis.label.set_color(text)
    ax.yaxis.label.set_color(text)
    ax.spines[:].set_color(line)
    ax.spines["top"].set_visible(False)


def _histogram(ax: Axes, found: ControlDistances, colour: str, *, is_last: bool) -> None:
    counts, edges = np.asarray(found.counts), np.asarray(found.edges)
    if is_last:
        ax.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
    ax.stairs(counts, edges, color=colour, linewidth=1.4 if is_last else 0.9)
