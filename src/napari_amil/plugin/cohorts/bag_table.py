"""Bags, groups and clusters of a cohort as tables to sort and filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_amil.core.base.class_names import class_sentence, display_name
from napari_amil.core.base.column import Table
from napari_amil.core.base.columns import column_of, names_in, shown
from napari_amil.core.base.types import UNSEEN

GROUPS = {"Every sample": None, "By patient": "patient", "By label": "label", "By verdict": "verdict"}
"""``choice -> column`` by which rows are grouped."""
_OF_CLASSES = frozenset({"label", "predicted", "verdict", "nearest_class"})
"""Columns whose texts are classes, which have names that people know."""
_FIRST = ("bag", "verdict", "abnormal_share", "caveat")
"""Columns that a reader needs first; in a narrow dock the others are reached by scrolling."""
_SORT = Qt.ItemDataRole.UserRole
_NO_PARENT = QModelIndex()
_WIDEST_PX = 140
_ROWS_MEASURED = 200
"""Number of rows whose texts determine the width of a column."""


def samples_in_words(bags: pd.DataFrame) -> str:
    """Return the numbers of samples and of patients in words; loose images have no known patient.

    >>> samples_in_words(pd.DataFrame({"bag": ["a", "b"], "patient": ["p", "p"]}))
    '2 samples of 1 patient'
    >>> samples_in_words(pd.DataFrame({"bag": ["a.png", "b.png"], "patient": ["a.png", "b.png"]}))
    '2 samples'
    """
    n = len(bags)
    samples = f"{n:,} sample{'' if n == 1 else 's'}"
    if not knows_patients(bags):
        return samples
    n_patients = bags["patient"].nunique()
    return f"{samples} of {n_patients:,} patient{'' if n_patients == 1 else 's'}"


def knows_patients(bags: pd.DataFrame) -> bool:
    """Return whether patients are known; a loose image counts as a patient of its own."""
    return "patient" in bags and not (bags["patient"].astype(str) == bags["bag"].astype(str)).all()


def grouped(bags: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """Return one row per bag, or per group of bags with means over them and the sum of their cells."""
    if by is None:
        known = {name for name in bags if (bags[name].notna() & (bags[name] != "")).any()}
        kept = [name for name in names_in("bags", bags) if name in known | {"bag", "verdict"}]
        kept.sort(key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
        return bags[kept].reset_index(drop=True)
    named = bags[by].astype(object).where(bags[by].notna() & (bags[by] != ""), "none")
    parts = bags.assign(novel=bags["verdict"].eq(UNSEEN)).groupby(named, sort=True)
    scores = [name for name in names_in("bags", bags) if column_of(name, "bags").is_score]
    table = parts[["novel", *scores]].mean()
    table.insert(0, "n_bags", parts.size())
    table["n_cells"] = parts["n_cells"].sum()
    return table.rename_axis(by).reset_index()


class BagModel(QAbstractTableModel):
    """A table of bags, groups or clusters for a view; numbers sort as numbers."""

    def __init__(self, parent: QObject | None = None, rows: Table = "bags") -> None:
        super().__init__(parent)
        self._rows: Table = rows
        self.table = pd.DataFrame()
        self._marked: frozenset[str] = frozenset()

    def show(self, table: pd.DataFrame) -> None:
        """Show another table."""
        self.beginResetModel()
        self.table = table
        self.endResetModel()

    def mark(self, bags: frozenset[str]) -> None:
        """Show the names of some bags in bold."""
        self._marked = bags
        if len(self.table) and "bag" in self.table:
            column = self.table.columns.get_loc("bag")
            ends = self.index(0, column), self.index(len(self.table) - 1, column)
            self.dataChanged.emit(*ends, [Qt.ItemDataRole.FontRole])

    def rowCount(self, parent: QModelIndex = _NO_PARENT) -> int:  # noqa: N802
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self.table)

    def columnCount(self, parent: QModelIndex = _NO_PARENT) -> int:  # noqa: N802
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.table.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: ANN401
        """Return text, sort key or alignment of one field."""
        if not index.isValid():
            return None
        value = self.table.iat[index.row(), index.column()]
        number = isinstance(value, int | float | np.number)
        if role == Qt.ItemDataRole.TextAlignmentRole and number:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == _SORT:
            return _sort_key(value)
        if role == Qt.ItemDataRole.FontRole and self.table.columns[index.column()] == "bag":
            return _bold() if value in self._marked else None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            is_class = self.table.columns[index.column()] in _OF_CLASSES and isinstance(value, str) and value
            text = display_name(value) if is_class else shown(value)
            return self._tip(index, value, text) if role == Qt.ItemDataRole.ToolTipRole and is_class else text
        return None

    def _tip(self, index: QModelIndex, value: str, text: str) -> str:
        """Return what a class is and, for a verdict, its caveat, whose column may be out of sight."""
        name = self.table.columns[index.column()]
        caveat = self.table.get("caveat") if name == "verdict" else None
        said = "" if caveat is None or pd.isna(caveat.iat[index.row()]) else str(caveat.iat[index.row()])
        meaning = class_sentence(value)
        return "\n".join(line for line in (f"{text}: {meaning}" if meaning else text, said) if line)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401
        """Return name or meaning of a column."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self.table.columns):
            return None
        column = column_of(str(self.table.columns[section]), self._rows)
        if role == Qt.ItemDataRole.DisplayRole:
            return column.heading
        return column.meaning if role == Qt.ItemDataRole.ToolTipRole else None


class BagFilter(QSortFilterProxyModel):
    """Rows in which any field contains a text; sorted by value."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setSortRole(_SORT)
        self.setFilterKeyColumn(-1)
        self.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)


def row_view(model: BagFilter, name: str, tip: str, widest_px: int = _WIDEST_PX) -> QTableView:
    """Return a sortable view of whole rows of ``model``; a column is at most ``widest_px`` wide."""
    view = QTableView()
    view.setModel(model)
    view.setSortingEnabled(True)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    view.setAccessibleName(name)
    view.setToolTip(tip)
    view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    model.modelReset.connect(view.resizeColumnsToContents)
    names, numbers = view.horizontalHeader(), view.verticalHeader()
    if names is not None and numbers is not None:
        names.setMaximumSectionSize(widest_px)  # the whole text is in the tooltip
        names.setResizeContentsPrecision(_ROWS_MEASURED)
        numbers.hide()
    return view


def fit_height(view: QTableView, most_rows: int) -> None:
    """Make a view as high as its rows, but no higher than ``most_rows`` of them."""
    model, header, bar = view.model(), view.horizontalHeader(), view.horizontalScrollBar()
    assert model is not None
    assert header is not None
    assert bar is not None
    rows = min(max(model.rowCount(), 1), most_rows)
    row_px = view.rowHeight(0) or header.sizeHint().height()
    around = header.sizeHint().height() + bar.sizeHint().height() + 2 * view.frameWidth()
    view.setFixedHeight(around + rows * row_px)


def _bold() -> QFont:
    font = QFont()
    font.setBold(True)
    return font


def _sort_key(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, int | float | np.number):
        return float(value) if np.isfinite(value) else float("inf")
    return "" if value is None else str(value)
