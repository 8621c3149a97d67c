"""The curves of a detector's training while it runs: its loss, and how good it is on held-out images."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_amil.plugin.training.curves import paint_axes
from napari_amil.plugin.training.run_log import TrainingLog
from napari_amil.plugin.window.theme import palette

_REDRAW_MS = 500
_HEIGHT_PX = 270
_POINTS = 8.0
_MARGINS = {"left": 0.15, "right": 0.96, "top": 0.9, "bottom": 0.14, "hspace": 0.32}
_LOSS = "#56B4E9"
_FIGURES = {
    "ap50_95": ("AP 50:95", "#E69F00"),
    "recall": ("recall", "#009E73"),
    "precision": ("precision", "#CC79A7"),
}


class DetectorCurves(QWidget):
    """Two plots below each other, over the steps: the training loss, and the figures on held-out images."""

    def __init__(self, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = palette(theme)
        self._training: TrainingLog | None = None
        self._drawn = -1
        figure = Figure(figsize=(3.4, 2.7))
        self.canvas = FigureCanvasQTAgg(figure)  # type: ignore[no-untyped-call]
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.canvas.setFixedHeight(_HEIGHT_PX)
        self.canvas.setMinimumWidth(0)
        self.canvas.setAccessibleName("Curves of the detector's training")
        with mpl.rc_context({"font.size": _POINTS}):
            self._make_axes(figure)
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
            self._drawn = -1
        self._training = training
        if self._n_known() != self._drawn and not self._timer.isActive():
            self._timer.start()

    def set_theme(self, theme: str) -> None:
        """Take the colours of a napari theme."""
        self._palette = palette(theme)
        self._paint()
        self._draw()

    def _n_known(self) -> int:
        return len(self._training.epochs) if self._training is not None else 0

    def _make_axes(self, figure: Figure) -> None:
        grid = figure.add_gridspec(2, 1, **_MARGINS)
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
        self._paint()

    def _paint(self) -> None:
        self.canvas.figure.patch.set_facecolor(self._palette.back.name())
        for axes in (self.losses, self.figures):
            paint_axes(axes, self._palette)
        for text in self._legend.get_texts():
            text.set_color(self._palette.text.name())

    def _draw(self) -> None:
        self._drawn = self._n_known()
        training = self._training or TrainingLog()
        steps = sorted(training.epochs)
        reports = [training.epochs[step] for step in steps]
        self._loss.set_data(steps, [report.train_loss for report in reports])
        for name, line in self._lines.items():
            line.set_data(steps, [report.metrics.get(name, np.nan) for report in reports])
        self.losses.relim()
        self.losses.autoscale_view(scalex=False)
        most = reports[-1].n_epochs if reports else 1
        self.losses.set_xlim(-0.02 * most, 1.02 * most)
        self.canvas.draw_idle()  # type: ignore[no-untyped-call]
        self.canvas.setAccessibleDescription(self._in_words())

    def _in_words(self) -> str:
        """Return what the curves show, for those who cannot see them."""
        last = self._training.last if self._training is not None else None
        if last is None:
            return "Nothing is measured yet."
        told = [
            f"{words} {last.metrics[name]:.2f}"
            for name, (words, _) in _FIGURES.items()
            if name in last.metrics
        ]
        return f"Step {last.epoch} of {last.n_epochs}: {', '.join(told) or 'nothing is held out'}."
