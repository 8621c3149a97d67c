"""Curves of a training while it runs: of a model and of a detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import Event
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
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
_TRAINING, _VALIDATION, _WEIGHT = "#56B4E9", "#E69F00", "#CC79A7"
_MARGINS = {"top": 0.93, "bottom": 0.13, "hspace": 0.55}
_MANY_EPOCHS = 400
_FEW_EPOCHS = 12
_DETECTOR_MARGINS = {"top": 0.9, "bottom": 0.14, "hspace": 0.32}
_LOSS = "#56B4E9"
_FIGURES = {
    "ap50_95": ("AP 50:95", "#E69F00"),
    "recall": ("recall", "#009E73"),
    "precision": ("precision", "#CC79A7"),
}


class LivePlot(QWidget):
    """Base of the plots of a running training; a subclass defines its axes and curves.

    Parameters
    ----------
    theme
        Name of a napari theme.
    """

    height_px = 300
    name = "Curves of the training"
    margin_px: Mapping[str, int] = {}
    """Margins other than the default."""

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
        """Return the state that the drawing depends on."""
        return (len(self._training.epochs) if self._training is not None else 0,)

    def _show(self, training: TrainingLog) -> None:
        """Move everything to where ``training`` stands."""
        raise NotImplementedError

    def _in_words(self) -> str:
        """Return the curves in words, for screen readers."""
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


class Curves(LivePlot):
    """Two plots below each other: the losses of every epoch, and where the control cells lie."""

    margin_px: Mapping[str, int] = {"right": 34}

    def _make_axes(self, figure: Figure) -> None:
        figure.subplots_adjust(**_MARGINS)
        grid = figure.add_gridspec(2, 1, height_ratios=(1.6, 1.0))
        self.losses: Axes = figure.add_subplot(grid[0])
        self.weight: Axes = self.losses.twinx()
        self.controls: Axes = figure.add_subplot(grid[1])
        ax = self.losses
        (self._train,) = ax.plot([], [], color=_TRAINING, label="training", linewidth=1.6)
        (self._valid,) = ax.plot([], [], color=_VALIDATION, label="validation", linewidth=1.6)
        (self._beta,) = self.weight.plot([], [], color=_WEIGHT, label="cell weight", linewidth=1, ls="--")
        self._cells = ax.axvspan(0, 0, alpha=0.13, linewidth=0, visible=False)
        place = ax.get_xaxis_transform()
        self._cells_text = ax.text(0, 0.96, " single cells", transform=place, va="top", visible=False)
        ax.set(xlabel="epoch", ylabel="loss")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=2))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        self.weight.set(ylim=(-0.03, 1.05), yticks=(0, 0.5, 1))
        look: dict[str, Any] = {"handlelength": 1.3, "columnspacing": 0.9, "borderaxespad": 0.2}
        handles = [self._train, self._valid, self._beta]
        place_of: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, 1.01), "frameon": False}
        self._legend = figure.legend(handles=handles, ncols=3, **look, **place_of)
        self._make_histogram()

    def _make_histogram(self) -> None:
        ax = self.controls
        self._before = ax.stairs([0], [0, 1], linewidth=0.9)
        self._fill = ax.stairs([0], [0, 1], fill=True, color=_TRAINING, alpha=0.35)
        self._now = ax.stairs([0], [0, 1], color=_TRAINING, linewidth=1.4)
        words = "drawn when the controls\nare looked at"
        self._none = ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center")
        ax.set(xlabel="distance of controls from their centre", ylabel="cells")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))

    def _paint(self) -> None:
        super()._paint()
        for text in self._legend.get_texts():
            text.set_color(self._palette.text.name())
        for artist in (self._cells, self._cells_text, self._before, self._none):
            artist.set_color(self._palette.muted.name())

    def _state(self) -> tuple[int, int]:
        training = self._training
        if training is None:
            return 0, 0
        return len(training.epochs), sum(each.epoch + 1 for each in training.distances)

    def _show(self, training: TrainingLog) -> None:
        self._draw_losses(training)
        self._draw_controls(training)

    def _draw_losses(self, training: TrainingLog) -> None:
        epochs = sorted(training.epochs)
        epochs = epochs[:: max(len(epochs) // _MANY_EPOCHS, 1)]
        reports = [training.epochs[epoch] for epoch in epochs]
        shown = np.array(epochs) + 1
        for line in (self._train, self._valid, self._beta):
            line.set_marker("." if len(epochs) < _FEW_EPOCHS else "")
        self._train.set_data(shown, [report.train_loss for report in reports])
        self._valid.set_data(shown, [report.validation_loss for report in reports])
        self._beta.set_data(shown, [report.sic_weight for report in reports])
        n_epochs = reports[-1].n_epochs if reports else 1
        self.losses.relim()
        self.losses.autoscale_view(scalex=False)
        self.losses.set_xlim(0.5, max(n_epochs, 2) + 0.5)
        of_cells = [e for e, report in training.epochs.items() if "bag_loss" not in report.metrics]
        is_shaded = bool(of_cells) and max(of_cells) + 1 < n_epochs  # their loss is another one
        self._cells.set_visible(is_shaded)
        self._cells_text.set_visible(is_shaded)
        if is_shaded:
            self._cells.set(x=0.5, width=max(of_cells) + 1)
            self._cells_text.set_x(0.5)

    def _draw_controls(self, training: TrainingLog) -> None:
        known = training.distances
        self._none.set_visible(not known)
        for axis in (self.controls.xaxis, self.controls.yaxis):
            axis.set_visible(bool(known))
        self._before.set_visible(len(known) > 1)
        self._fill.set_visible(bool(known))
        self._now.set_visible(bool(known))
        if known:
            for patch, found in ((self._before, known[0]), (self._fill, known[-1]), (self._now, known[-1])):
                patch.set_data(np.asarray(found.counts, float), np.asarray(found.edges))
            edges = [edge for found in known for edge in (found.edges[0], found.edges[-1])]
            self.controls.set_xlim(min(edges), max(max(edges), min(edges) + 1e-6))
            self.controls.set_ylim(0, 1.05 * max(max(found.counts) for found in known) or 1)

    def _in_words(self) -> str:
        last = self._training.last if self._training is not None else None
        if last is None:
            return "No epoch is over yet."
        validation = "" if np.isnan(last.validation_loss) else f", validation loss {last.validation_loss:.3g}"
        return (
            f"Epoch {last.epoch + 1} of {last.n_epochs}: training loss {last.train_loss:.3g}{validation}, "
            f"weight of single cells {last.sic_weight:.2g}."
        )


class NetworkCurves(LivePlot):
    """The loss of a network that learns to redraw control cells, over its epochs."""

    height_px = 190
    name = "Curve of the network's training"

    def _make_axes(self, figure: Figure) -> None:
        figure.subplots_adjust(top=0.95, bottom=0.24)
        self.losses = figure.add_subplot()
        (self._loss,) = self.losses.plot([], [], color=_LOSS, marker=".", linewidth=1.6)
        self.losses.set(xlabel="epoch", ylabel="loss")
        self.losses.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=2))
        self.losses.yaxis.set_major_locator(MaxNLocator(4))

    def _show(self, training: TrainingLog) -> None:
        epochs = sorted(training.epochs)
        self._loss.set_data(np.array(epochs) + 1, [training.epochs[epoch].train_loss for epoch in epochs])
        self._loss.set_marker("." if len(epochs) < _FEW_EPOCHS else "")
        self.losses.relim()
        self.losses.autoscale_view(scalex=False)
        last = training.last
        self.losses.set_xlim(0.5, max(last.n_epochs if last is not None else 1, 2) + 0.5)

    def _in_words(self) -> str:
        last = self._training.last if self._training is not None else None
        if last is None:
            return "No epoch is over yet."
        return f"Epoch {last.epoch + 1} of {last.n_epochs}: loss {last.train_loss:.3g}."


class DetectorCurves(LivePlot):
    """Two plots below each other, over the steps: the training loss, and the figures on held-out images."""

    height_px = 270
    name = "Curves of the detector's training"

    def _make_axes(self, figure: Figure) -> None:
        figure.subplots_adjust(**_DETECTOR_MARGINS)
        grid = figure.add_gridspec(2, 1)
        self.losses = figure.add_subplot(grid[0])
        self.figures = figure.add_subplot(grid[1], sharex=self.losses)
        (self._loss,) = self.losses.plot([], [], color=_LOSS, marker=".", linewidth=1.6)
        self.losses.set(ylabel="loss")
        self.losses.tick_params(labelbottom=False)
        self.losses.yaxis.set_major_locator(MaxNLocator(3))
        self._lines = {
            name: self.figures.plot([], [], color=colour, label=words, marker=".", linewidth=1.4)[0]
            for name, (words, colour) in _FIGURES.items()
        }
        self.figures.set(xlabel="step", ylabel="held-out images", ylim=(-0.03, 1.05))
        self.figures.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=2))
        self.figures.yaxis.set_major_locator(MaxNLocator(3))
        self._legend = figure.legend(
            handles=list(self._lines.values()),
            ncols=3,
            loc="upper left",
            bbox_to_anchor=(0.0, 1.01),
            frameon=False,
            handlelength=1.3,
            columnspacing=0.9,
        )

    def _paint(self) -> None:
        super()._paint()
        for text in self._legend.get_texts():
            text.set_color(self._palette.text.name())

    def _show(self, training: TrainingLog) -> None:
        steps = sorted(training.epochs)
        reports = [training.epochs[step] for step in steps]
        self._loss.set_data(steps, [report.train_loss for report in reports])
        for name, line in self._lines.items():
            line.set_data(steps, [report.metrics.get(name, np.nan) for report in reports])
        self.losses.relim()
        self.losses.autoscale_view(scalex=False)
        most = reports[-1].n_epochs if reports else 1
        self.losses.set_xlim(-0.02 * most, 1.02 * most)

    def _in_words(self) -> str:
        last = self._training.last if self._training is not None else None
        if last is None:
            return "Nothing is measured yet."
        parts = [
            f"{words} {last.metrics[name]:.2f}"
            for name, (words, _) in _FIGURES.items()
            if name in last.metrics
        ]
        return f"Step {last.epoch} of {last.n_epochs}: {', '.join(parts) or 'nothing is held out'}."
