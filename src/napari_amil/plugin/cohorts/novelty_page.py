"""Samples by novelty, and cells by anomaly, the most unusual first."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_amil.core.base.columns import PLACE_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.bag_table import BagFilter, BagModel, row_view
from napari_amil.plugin.cohorts.cell_strip import CellStrip
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.layers.selection import keys_of_rows
from napari_amil.plugin.window.theme import PAGE_MARGINS, sized

_MOST_CELLS = 500
_COLUMNS = ("bag", "novelty_p", "verdict", "abnormal_share", "share_q05", "patient", "label", "n_cells")


class NoveltyPage(QWidget):
    """Samples above, cells below: of all samples, or of the one that was clicked."""

    errored = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._state = open_results_of(viewer)
        self.model, self.rows = BagModel(self), BagFilter(self)
        self.rows.setSourceModel(self.model)
        tip = "Click a sample, or press Enter: its unusual cells are chosen, the first is shown."
        self.view = row_view(self.rows, "Samples, the most novel first", tip)
        self.view.setMinimumHeight(120)
        self.head = sized(QLabel(), 1.0, bold=True)
        self.cells = CellStrip(viewer, "Cells, the most unusual first", "No cell has a score.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*PAGE_MARGINS)
        layout.addWidget(self.view, 2)
        layout.addWidget(self.head)
        layout.addWidget(self.cells, 3)
        self.view.clicked.connect(self._on_row)
        self.view.activated.connect(self._on_row)
        self.cells.errored.connect(self.errored)

    def refresh(self) -> None:
        """Show the project that is open now."""
        project = self._state.project
        if project is None:
            return
        bags = project.bags
        kept = [name for name in _COLUMNS if name in bags]
        by = "novelty_p" if "novelty_p" in bags else "share_q05"
        self.model.show(bags.sort_values(by, kind="stable", ascending=by == "novelty_p")[kept])
        self.view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.view.resizeColumnsToContents()
        self._show_cells(None)

    def _show_cells(self, bag: str | None) -> np.ndarray:
        """Show the most unusual cells, each once, and return their rows."""
        assert self._state.project is not None
        cells = self._state.project.cells
        own = cells[cells["anomaly"].notna() & ((cells["bag"] == bag) | (bag is None))]
        order = own.sort_values("anomaly", ascending=False, kind="stable").drop_duplicates(PLACE_COLUMNS)
        rows = order.index.to_numpy(np.int64)[:_MOST_CELLS]
        self.head.setText(
            "The most unusual cells of all" if bag is None else f"The most unusual cells of {bag}"
        )
        self.cells.show_rows(rows)
        return rows

    def _on_row(self, index: QModelIndex) -> None:
        project = self._state.project
        if project is None or not index.isValid():
            return
        bag = str(self.model.table["bag"].iloc[self.rows.mapToSource(index).row()])
        rows = self._show_cells(bag)
        unusual = project.cells.iloc[rows]
        unusual = unusual[unusual["anomaly_q"] < 0.05] if "anomaly_q" in unusual else unusual[:0]
        try:
            if len(rows):
                self._state.show_cell(int(rows[0]), keys_of_rows(unusual))
        except AmilError as error:
            self.errored.emit(str(error))
