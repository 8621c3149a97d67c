"""The curves of a detector's training while it runs: its loss, and how good it is on held-out images."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from napari_amil.plugin.training.live_plot import LivePlot
from napari_amil.plugin.training.run_log import TrainingLog

_MARGINS = {"top": 0.9, "bottom": 0.14, "hspace": 0.32}
_LOSS = "#56B4E9"
_FIGURES = {
    "ap50_95": ("AP 50:95", "#E69F00"),
    "recall": ("recall", "#009E73"),
    "precision": ("precision", "#CC79A7"),
}


class DetectorCurves(LivePlot):
    """Two plots below each other, over the steps: the training loss, and the figures on held-out images."""

    height_px = 270
    name = "Curves of the detector's training"

    def _make_axes(self, figure: Figure) -> None:
        figure.subplots_adjust(**_MARGINS)
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
        told = [
            f"{words} {last.metrics[name]:.2f}"
            for name, (words, _) in _FIGURES.items()
            if name in last.metrics
        ]
        return f"Step {last.epoch} of {last.n_epochs}: {', '.join(told) or 'nothing is held out'}."
