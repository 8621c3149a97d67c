"""The Embedding map: scored cells as points, similar cells close together; a lasso selects them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.backend_bases import MouseButton
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.widgets import LassoSelector, RectangleSelector
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QPushButton, QSizePolicy

from napari_amil.core.base.columns import column_of, menu_names
from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.open_results import open_results_of, stored_layout
from napari_amil.plugin.colour.map_colours import KINDS, drawing_order, kind_colours, of_one_shade, rare_rows
from napari_amil.plugin.layers.colour_scale import default_scale
from napari_amil.plugin.layers.selection import KeyRows, keys_of_rows, selection_of
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import palette, wrapped
from napari_amil.plugin.window.work import Worker, shared_worker
from napari_amil.worker.protocol.messages import LayOutMap, MapWritten

PCA, TSNE, UMAP = "Principal components", "t-SNE (neighbours)", "UMAP (groups)"
_LAYOUTS: dict[str, Literal["tsne", "umap"]] = {TSNE: "tsne", UMAP: "umap"}
_POINTS, _DENSITY = "Every cell", "Density, rare on top"
_DENSITY_BINS = 90
_CLICK_PX = 8
_LEGEND_STEPS, _LETTER_PX, _MARKER_PX, _NARROW_PX = 5, 6.2, 24, 270
_TIGHT: dict[str, Any] = {"columnspacing": 0.8, "handletextpad": 0.1, "borderaxespad": 0.2, "borderpad": 0.1}
_LASSO, _RECTANGLE = "Lasso", "Rectangle"
_NOTHING = "No results are open: open the folder of a scored cohort, here or in the Cohort panel."


class EmbeddingMap(Panel):
    """A scatter of all cells of the open project, in step with the selection that every view shares."""

    TITLE = "Embedding map"
    TERMS = ("Anomaly", "Cohort", "Embedding", "Embedding map", "Verdict")
    errored = Signal(str)

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._worker = worker if worker is not None else shared_worker()
        self._state = open_results_of(viewer)
        self._selection = selection_of(viewer)
        self._cells = pd.DataFrame()
        self.place: NDArray[np.float64] = np.empty((0, 2))
        self._rows_of = KeyRows((), (), ())
        self._build()
        self._is_asked = False
        self._state.changed.connect(self._on_project_changed)
        self._state.errored.connect(self._on_not_opened)
        self._selection.changed.connect(self._on_selection_changed)
        hear(self, viewer.events.theme, self._on_theme_changed)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_placed)
        self.job.errored.connect(self.errored)
        self._on_project_changed()

    def _build(self) -> None:
        self.figure = Figure(layout="constrained")
        self.canvas: Any = FigureCanvasQTAgg(self.figure)  # type: ignore[no-untyped-call]
        self.canvas.setMinimumHeight(260)
        expanding = QSizePolicy.Policy.Expanding  # else napari puts an empty stretch below the map
        self.canvas.setSizePolicy(expanding, expanding)
        self.canvas.setAccessibleName("Map of cells")
        self.axes = self.figure.add_subplot()
        tip = (
            "Principal components at once; t-SNE keeps neighbours together, UMAP groups. These two are "
            "worked out once and kept with the results."
        )
        self.method = _combo([PCA, TSNE, UMAP], "Layout", tip)
        tip = "Density counts all cells in grey; unusual cells and small groups stay points in colour."
        self.drawing = _combo([_POINTS, _DENSITY], "Draw", tip)
        self.colour = _combo(
            [], "Colour", "What the colour of a point means; rare and high values lie on top."
        )
        self.tool = _combo([_LASSO, _RECTANGLE], "Select with", "Drag around cells; click a cell to see it.")
        self.job = JobBar("Compute this layout", "Lay out the cells in the background; it is kept.")
        self.reopen = QPushButton("Open results …")
        self.reopen.setToolTip("Choose the folder of a scored cohort.")
        self.summary = wrapped(_NOTHING)
        self.form = QFormLayout()
        for combo in (self.method, self.colour, self.drawing, self.tool):
            self.form.addRow(combo.accessibleName(), combo)
        layout = self._filling_layout()
        layout.addLayout(self.form)
        for widget in (self.job, self.reopen, self.summary):
            layout.addWidget(widget)
        layout.addWidget(self.canvas, 1)
        self.setMinimumWidth(300)
        self.lasso = LassoSelector(self.axes, self._on_lasso, useblit=True)
        self.rectangle = RectangleSelector(
            self.axes, self._on_rectangle, useblit=True, button=[MouseButton.LEFT]
        )
        self.reopen.clicked.connect(self._choose_folder)
        self.method.currentTextChanged.connect(self._on_method_changed)
        self.colour.currentTextChanged.connect(self._draw)
        self.drawing.currentTextChanged.connect(self._draw)
        self.tool.currentTextChanged.connect(self._on_tool_changed)
        self._on_tool_changed()

    def run(self) -> None:
        """Work out the chosen layout of the open project."""
        if self.job.is_running or self._state.folder is None:
            return
        layout = _LAYOUTS.get(self.method.currentText(), "tsne")
        self.job.follow(self._worker.start(LayOutMap(folder=self._state.folder, layout=layout)))

    def _on_placed(self, found: MapWritten) -> None:
        if self._state.folder is not None and found.map.parent == self._state.folder:
            self._on_method_changed()

    def _on_project_changed(self) -> None:
        opened, self._is_asked = self._state.opened, False
        self.canvas.setVisible(opened is not None)
        for combo in (self.method, self.colour, self.drawing, self.tool):
            self.form.setRowVisible(combo, opened is not None)
        self.job.setVisible(False)
        if opened is None:
            return
        self._cells, self._rows_of = opened.cells, opened.rows_of
        before = self.colour.currentData()
        self.colour.blockSignals(True)
        self.colour.clear()
        for name in [*menu_names(self._cells), *(kind for kind in KINDS if kind in self._cells)]:
            self.colour.addItem(column_of(name).title, name)
        self.colour.setCurrentIndex(max(self.colour.findData(before), 0))
        self.colour.blockSignals(False)
        self.summary.setText(f"{len(self._cells):,} cells. Drag around some to select them in every view.")
        self._on_method_changed()

    def _on_method_changed(self, _: str = "") -> None:
        """Show the chosen layout, or offer to work it out."""
        opened = self._state.opened
        if opened is None:
            return
        wanted = self.method.currentText()
        if wanted == PCA:
            place: NDArray[Any] | None = opened.plane
        else:
            place = stored_layout(opened.folder, _LAYOUTS[wanted])
        fits = place is not None and len(place) == len(self._cells)
        self.job.setVisible(not fits)
        if place is None or not fits:
            self.summary.setText(f"{wanted.split(' ')[0]} is not computed for these results yet.")
            return
        self.place = np.asarray(place, dtype=np.float64)
        self.summary.setText(f"{len(self._cells):,} cells. Drag around some to select them in every view.")
        self._draw()

    def _draw(self, _: str = "") -> None:
        if not len(self.place):
            return
        name = str(self.colour.currentData())
        legend: dict[str, Any] = {}
        if name in KINDS:
            colours, legend = kind_colours(self._cells[name])
        else:
            values = self._cells[name].to_numpy(np.float64)
            scale = default_scale(name, values)
            colours = scale.rgba(values)
            steps = np.linspace(scale.low, scale.high, _LEGEND_STEPS)
            legend = dict(zip((f"{step:.3g}" for step in steps), scale.rgba(steps), strict=True))
        order = drawing_order(self._cells[name])
        if self.drawing.currentText() == _DENSITY:
            order = order[rare_rows(self._cells, name)[order]]
        self.axes.clear()
        size = float(np.clip(20_000 / len(self.place), 2, 20))
        if self.drawing.currentText() == _DENSITY:
            x, y = self.place.T
            self.axes.hexbin(x, y, gridsize=_DENSITY_BINS, bins="log", cmap="Greys", mincnt=1, linewidths=0)
            size = max(size, 4.0)
        x, y = self.place[order].T
        for rows in of_one_shade(colours[order]):  # markers alike take a tenth of the time
            colour = colours[order[rows[0]]]
            self.axes.plot(x[rows], y[rows], "o", ms=np.sqrt(size), mew=0, color=colour, in_layout=False)
        for text, colour in legend.items():
            self.axes.scatter([], [], s=24, color=[colour], label=text)
        self._ring = self.axes.scatter([], [], s=4 * size + 12, facecolors="none", linewidths=1.2, zorder=3)
        self.axes.set(xticks=[], yticks=[])
        for written in self.figure.legends:
            written.remove()
        if legend:  # beside the map: it must not hide a cell
            widest = max(len(text) for text in legend) * _LETTER_PX + _MARKER_PX
            columns = int(np.clip(_NARROW_PX // widest, 1, len(legend)))
            self.figure.legend(fontsize=8, loc="outside upper left", ncols=columns, **_TIGHT)
        self._on_theme_changed(None)
        self._show_selected()

    def _on_theme_changed(self, _: object) -> None:
        colours = palette(self._viewer.theme)
        back, text = colours.back.name(), colours.text.name()
        self.figure.set_facecolor(back)
        self.axes.set_facecolor(back)
        for spine in self.axes.spines.values():
            spine.set_color(colours.muted.name())
        for legend in self.figure.legends:
            legend.get_frame().set(facecolor=back, edgecolor="none")
            for written in legend.get_texts():
                written.set_color(text)
        if hasattr(self, "_ring"):
            self._ring.set_edgecolor(text)
        self.canvas.draw_idle()

    def _on_tool_changed(self, _: str = "") -> None:
        self.lasso.set_active(self.tool.currentText() == _LASSO)
        self.rectangle.set_active(self.tool.currentText() == _RECTANGLE)

    def _on_lasso(self, corners: list[tuple[float, float]]) -> None:
        drawn = self.axes.transData.transform(corners)
        if len(corners) < 3 or np.ptp(drawn, axis=0).max() < _CLICK_PX / 2:
            self._show_nearest(np.asarray(drawn[-1]))
            return
        self.choose_rows(np.flatnonzero(Outline(corners).contains_points(self.place)))

    def _on_rectangle(self, press: Any, release: Any) -> None:  # noqa: ANN401
        ends = np.array([[press.xdata, press.ydata], [release.xdata, release.ydata]], dtype=float)
        low, high = ends.min(axis=0), ends.max(axis=0)
        self.choose_rows(np.flatnonzero(((self.place >= low) & (self.place <= high)).all(axis=1)))

    def choose_rows(self, rows: NDArray[np.int64]) -> None:
        """Choose the cells in some rows of the project, in every view."""
        chosen = self._cells.iloc[rows]
        keys = keys_of_rows(chosen)
        self._selection.choose(keys)
        self.summary.setText(f"{len(set(keys)):,} of {len(self._cells):,} cells are selected.")

    def _show_nearest(self, pixel: NDArray[np.float64]) -> None:
        """Show the cell that was clicked on its image."""
        if not len(self.place):
            return
        apart = np.linalg.norm(self.axes.transData.transform(self.place) - pixel, axis=1)
        if apart.min() > _CLICK_PX:
            return
        try:
            self._state.show_cell(int(apart.argmin()))
        except AmilError as error:
            self.summary.setText(str(error))
            self.errored.emit(str(error))

    def _on_selection_changed(self, _: object) -> None:
        if len(self.place):
            self._show_selected()

    def selected_rows(self) -> NDArray[np.int64]:
        """Return the rows of the chosen cells."""
        rows = [row for key in self._selection.keys for row in self._rows_of.rows(key)]
        return np.array(sorted(rows), dtype=np.int64)

    def _show_selected(self) -> None:
        self._ring.set_offsets(self.place[self.selected_rows()])
        self.canvas.draw_idle()

    def _choose_folder(self) -> None:
        ask_path(self, "Choose the folder of a scored cohort", self.open_folder)

    def open_folder(self, folder: str) -> None:
        """Open a scored folder, for every panel."""
        self._is_asked = True
        self.summary.setText(f"Reading {folder} …")
        self._state.open(Path(folder))

    def _on_not_opened(self, sentence: str) -> None:
        if self._is_asked:
            self.summary.setText(sentence)
            self.errored.emit(sentence)
        self._is_asked = False


def _combo(texts: list[str], name: str, tip: str) -> QComboBox:
    combo = QComboBox()
    combo.addItems(texts)
    combo.setAccessibleName(name)
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(12)
    combo.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return combo
