"""Distribution of a score per class or patient, above the band of control cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.components import ViewerModel
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_amil.core.base.columns import column_of, menu_names
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import replacing
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.layers.selection import keys_of_rows, selection_of
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.theme import PAGE_MARGINS, palette, wrapped

BAND = (5, 95)
"""Percentiles of the cells of control samples between which the band lies."""
N_BINS = 40
_BAND_COLOUR = "#7F7F7F"
_GROUPS = ("label", "patient", "verdict", "cell_type")
_ROW_PX, _FOOT_PX, _MOST_ROWS = 44, 60, 60
_ON_DARK, _MIDDLE = "#56B4E9", 128
_BAND = "Grey: the middle 90 % of {0} cells. Lines: medians. Click a row to choose its cells."


@dataclass(frozen=True)
class PlotColours:
    """Colours of the theme: of letters and lines, of the ground, and of the curves."""

    text: str
    back: str
    curve: str = "#0072B2"


_PAPER = PlotColours("black", "white")


@dataclass(frozen=True, eq=False)
class Distributions:
    """Histograms of one score.

    Parameters
    ----------
    names
        Of the groups, from top to bottom.
    bins
        ``(n_bins + 1,)`` edges, which hold all but half a percent of the values at either end.
    shares
        For each group the share of its cells in each bin; what lies beyond is in the outermost.
    counts
        Cells of each group that have the score.
    medians
        Of each group.
    band
        5th and 95th percentile of the cells of control samples, None without any.
    logarithmic
        Whether the bins are.
    """

    names: tuple[str, ...]
    bins: NDArray[np.float64]
    shares: tuple[NDArray[np.float64], ...]
    counts: tuple[int, ...]
    medians: tuple[float, ...]
    band: tuple[float, float] | None
    logarithmic: bool

    @classmethod
    def from_values(
        cls, values: pd.Series, group: pd.Series, names: Sequence[str], is_control: NDArray[np.bool_]
    ) -> Distributions:
        """Return the distribution of ``values`` in each of the groups ``names``; NaN is left out.

        Parameters
        ----------
        values, group, is_control
            Of each cell; the name of the values is that of the score.
        """
        x = values.to_numpy(np.float64)
        known = x[np.isfinite(x)]
        low, high = np.percentile(known, [0.5, 99.5]) if len(known) else (0.0, 1.0)
        logarithmic = column_of(str(values.name)).logarithmic and 0 < 10 * low < high
        high = max(high, low + 1e-3)
        spread = np.geomspace if logarithmic else np.linspace
        bins = np.asarray(spread(low, high, N_BINS + 1), dtype=np.float64)
        parts = [x[(group == name).to_numpy() & np.isfinite(x)] for name in names]
        shares = tuple(
            np.histogram(np.clip(part, bins[0], bins[-1]), bins)[0] / max(len(part), 1) for part in parts
        )
        control = x[is_control & np.isfinite(x)]
        low, high = np.percentile(control, BAND) if len(control) else (np.nan, np.nan)
        medians = tuple(float(np.median(part)) if len(part) else float("nan") for part in parts)
        return cls(
            tuple(names),
            bins,
            shares,
            tuple(map(len, parts)),
            medians,
            (float(low), float(high)) if len(control) else None,
            logarithmic,
        )


def draw(found: Distributions, title: str, figure: Figure, look: PlotColours) -> list[Axes]:
    """Draw one row per group into ``figure`` and return the axes from top to bottom.

    The grey band holds the middle 90 % of the cells of control samples; a tick marks the median; each
    curve encloses the same area.
    """
    figure.clear()
    figure.set_facecolor(look.back)
    axes = figure.subplots(len(found.names), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name, share, count, median in zip(
        axes, found.names, found.shares, found.counts, found.medians, strict=True
    ):
        ax.set_facecolor(look.back)
        if found.band is not None:
            ax.axvspan(
                *np.clip(found.band, found.bins[0], found.bins[-1]),
                color=_BAND_COLOUR,
                alpha=0.25,
                linewidth=0,
            )
        ax.stairs(share, found.bins, fill=True, color=look.curve, alpha=0.45)
        ax.stairs(share, found.bins, color=look.curve, linewidth=1.2)
        if np.isfinite(median):
            ax.axvline(
                np.clip(median, found.bins[0], found.bins[-1]), color=look.text, linewidth=1, ymax=0.35
            )
        if found.logarithmic:
            ax.set_xscale("log")
        ax.set_xlim(found.bins[0], found.bins[-1])
        ax.set_yticks([])
        ax.set_ylabel(f"{name}\n{count:,}", rotation=0, ha="right", va="center", fontsize=8, color=look.text)
        ax.tick_params(colors=look.text, labelsize=8)
        for side, spine in ax.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(look.text)
    axes[-1].set_xlabel(title, fontsize=9, color=look.text)
    return list(axes)


class DistributionPage(QWidget):
    """Distribution of a score by group, a row each; a click chooses the cells of a group in every view."""

    errored = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._state = open_results_of(viewer)
        self._selection = selection_of(viewer)
        self._axes: list[Axes] = []
        self.shown: Distributions | None = None
        self._build()
        hear(self, viewer.events.theme, self._on_theme_changed)

    def _build(self) -> None:
        self.score, self.by = QComboBox(), QComboBox()
        for combo, name, tip in (
            (self.score, "Score", "Whose distribution is drawn."),
            (self.by, "One row per", "Which cells are put together."),
        ):
            combo.setAccessibleName(name)
            combo.setToolTip(tip)
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(12)
        self.figure = Figure(layout="constrained")
        self.canvas: Any = FigureCanvasQTAgg(self.figure)  # type: ignore[no-untyped-call]
        self.canvas.setAccessibleName("Distributions of the score")
        area = QScrollArea()
        area.setWidget(self.canvas)
        area.setWidgetResizable(True)
        self.save = QPushButton("Save figure …")
        self.save.setToolTip("As PNG, SVG or PDF, with black letters on white.")
        self.note = wrapped()
        form = QFormLayout()
        form.addRow("Score", self.score)
        form.addRow("By", self.by)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*PAGE_MARGINS)
        layout.addLayout(form)
        layout.addWidget(self.note)
        layout.addWidget(area, 1)
        layout.addWidget(self.save)
        self.score.currentTextChanged.connect(self._draw)
        self.by.currentTextChanged.connect(self._draw)
        self.save.clicked.connect(self._ask_where)
        self.canvas.mpl_connect("button_press_event", self._on_click)

    def refresh(self) -> None:
        """Show the project that is open now."""
        opened = self._state.opened
        if opened is None:
            return
        self._cells = opened.cells
        for combo, items in (
            (self.score, {column_of(name).title: name for name in menu_names(opened.project.cells)}),
            (self.by, {column_of(name).heading: name for name in _GROUPS if name in self._cells}),
        ):
            before = combo.currentData()
            combo.blockSignals(True)
            combo.clear()
            for text, name in items.items():
                combo.addItem(text, name)
            combo.setCurrentIndex(max(combo.findData(before), 0))
            combo.blockSignals(False)
        self._draw()

    def _groups(self) -> tuple[Any, list[str]]:
        """Return the group of each cell, and the names: controls first, then by size, at most sixty."""
        assert self._state.project is not None
        column = self._cells[str(self.by.currentData())]
        group = column.astype(object).where(column.notna() & (column != ""), "unknown").astype(str)
        names = list(group.value_counts().index)
        control = self._state.project.control
        return group, sorted(names, key=lambda name: name != control)[:_MOST_ROWS]

    def _draw(self, _: str = "") -> None:
        project, name = self._state.project, self.score.currentData()
        if project is None or name is None or self.by.currentData() is None:
            return
        group, names = self._groups()
        is_control = (self._cells["label"] == project.control).to_numpy()
        self.shown = Distributions.from_values(self._cells[str(name)], group, names, is_control)
        self.canvas.setMinimumHeight(_FOOT_PX + _ROW_PX * len(names))
        colours = palette(self._viewer.theme)
        curve = _ON_DARK if colours.back.lightness() < _MIDDLE else _PAPER.curve
        look = PlotColours(colours.text.name(), colours.back.name(), curve)
        self._axes = draw(self.shown, column_of(str(name)).title, self.figure, look)
        self.note.setText(
            _BAND.format(project.control) if self.shown.band else "No control sample is labelled."
        )
        self.canvas.draw_idle()

    def _on_click(self, event: Any) -> None:  # noqa: ANN401
        if event.inaxes in self._axes and self.shown is not None:
            self.choose(self.shown.names[self._axes.index(event.inaxes)])

    def choose(self, name: str) -> None:
        """Choose the cells of a group in every view."""
        group, _ = self._groups()
        rows = np.flatnonzero((group == name).to_numpy())
        self._selection.choose(keys_of_rows(self._cells.iloc[rows]))
        self.note.setText(f"{len(rows):,} cells of {name} are chosen in every view.")

    def _ask_where(self) -> None:
        dialog = QFileDialog(self, "Save the figure", "distributions.png", "Figures (*.png *.svg *.pdf)")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("png")
        dialog.fileSelected.connect(self.save_figure)
        dialog.finished.connect(dialog.deleteLater)
        dialog.setModal(False)
        dialog.show()

    def save_figure(self, path: str) -> None:
        """Save the drawing with black letters on white."""
        if self.shown is None:
            return
        figure = Figure(figsize=(6.4, 1 + 0.6 * len(self.shown.names)), layout="constrained")
        FigureCanvasAgg(figure)
        draw(self.shown, column_of(str(self.score.currentData())).title, figure, _PAPER)
        kind = Path(path).suffix.lstrip(".").lower() or "png"
        try:
            with replacing(Path(path)) as partial:
                figure.savefig(partial, format=kind, dpi=200)
        except (AmilError, ValueError) as error:
            self.note.setText(f"'{path}' cannot be written ({error}); choose a .png, .svg or .pdf.")
            self.errored.emit(self.note.text())
            return
        self.note.setText(f"Saved: {path}")

    def _on_theme_changed(self, _: object) -> None:
        self._draw()
