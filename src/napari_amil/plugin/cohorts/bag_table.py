"""Bags, groups and clusters of a cohort as tables to sort and filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt
from qtpy.QtWidgets import QAbstractItemView, QTableView

GROUPS = {"Every sample": None, "By patient": "patient", "By label": "label", "By verdict": "verdict"}
"""How rows can be put together."""
_HEADS = {
    "bag": ("Sample", "Name of the bag: all cells of one sample."),
    "n_bags": ("Samples", "Number of samples."),
    "patient": ("Patient", "Whose sample it is."),
    "label": ("Label", "What is known about it."),
    "verdict": ("Verdict", "A known class, 'unlike anything seen', or 'abstain'."),
    "predicted": ("Most like", "The most probable of the classes that the model knows."),
    "novelty_p": ("Novelty p", "How probable a sample this far from all classes is. Small: something new."),
    "anomalous_fraction": ("Unusual cells", "Share of the cells with q < 0.05."),
    "anomaly_p95": ("Distance, 95 %", "95th percentile of the distance from control cells."),
    "n_cells": ("Cells", "Number of scored cells."),
    "novel": ("Unlike anything", "Share of the samples with the verdict 'unlike anything seen'."),
    "cluster": ("Cluster", "Number of the cluster; the largest is 1."),
    "candidate": ("Named", "Candidate class that its cells were made."),
    "n_patients": ("Patients", "Number of patients with cells in it."),
    "anomaly": ("Distance", "Mean distance of its cells from control cells."),
    "in_unseen_bags": ("In novel samples", "Share of its cells in samples 'unlike anything seen'."),
    "nearest_class": ("Nearest class", "Class that the model knows whose cells are most like these."),
    "nearest_distance": (
        "How far",
        "Distance from cells of that class, in standard deviations: at 1 they overlap, at 4 hardly.",
    ),
    "statistic": ("Of each patient", "What is compared: its mean over the cells of each patient."),
    "mean_first": ("Mean, first", "Mean over the patients of the first group."),
    "mean_second": ("Mean, second", "Mean over the patients of the second group."),
    "cliffs_delta": (
        "Cliff's delta",
        "Share of pairs of patients in which the second group has more, less that in which it has less.",
    ),
    "p": ("p", "How often patients dealt to the groups at random differ as much."),
    "n_first": ("Patients, first", "Number of patients in the first group."),
    "n_second": ("Patients, second", "Number of patients in the second group."),
}
_SORT = Qt.ItemDataRole.UserRole
_NO_PARENT = QModelIndex()


def grouped(bags: pd.DataFrame, by: str | None) -> pd.DataFrame:
    """Return one row per bag, or per group of bags with means over them and the sum of their cells."""
    if by is None:
        kept = [name for name in _HEADS if name in bags]
        likely = [name for name in bags if name.startswith("probability_")]
        return bags[[*kept, *likely]].reset_index(drop=True)
    named = bags[by].astype(object).where(bags[by].notna() & (bags[by] != ""), "none")
    parts = bags.assign(novel=bags["verdict"].eq("unlike anything seen")).groupby(named, sort=True)
    means = [name for name in ("novel", "anomalous_fraction", "anomaly_p95", "novelty_p") if name != by]
    table = parts[[name for name in means if name == "novel" or name in bags]].mean()
    table.insert(0, "n_bags", parts.size())
    table["n_cells"] = parts["n_cells"].sum()
    return table.rename_axis(by).reset_index()


class BagModel(QAbstractTableModel):
    """A table of bags, groups or clusters for a view; numbers sort as numbers."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.table = pd.DataFrame()

    def show(self, table: pd.DataFrame) -> None:
        """Show another table."""
        self.beginResetModel()
        self.table = table
        self.endResetModel()

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
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return shown(value)
        return None

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:  # noqa: ANN401
        """Return name or meaning of a column."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self.table.columns):
            return None
        name = str(self.table.columns[section])
        likely = name.removeprefix("probability_")
        unknown = (likely, f"How probable the model holds {likely}.")
        head, meaning = _HEADS.get(name, unknown if likely != name else (name, name))
        if role == Qt.ItemDataRole.DisplayRole:
            return head
        return meaning if role == Qt.ItemDataRole.ToolTipRole else None


class BagFilter(QSortFilterProxyModel):
    """Rows in which any field contains a text; sorted by value."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setSortRole(_SORT)
        self.setFilterKeyColumn(-1)
        self.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)


def row_view(model: BagFilter, name: str, tip: str) -> QTableView:
    """Return a sortable view of whole rows of ``model``, reached by the keyboard as well."""
    view = QTableView()
    view.setModel(model)
    view.setSortingEnabled(True)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    view.setAccessibleName(name)
    view.setToolTip(tip)
    header = view.verticalHeader()
    if header is not None:
        header.hide()
    return view


def shown(value: Any) -> str:  # noqa: ANN401
    """Return a value as the table shows it: three digits, a dash for what is unknown."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)) or value == "":
        return "-"
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def _sort_key(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, int | float | np.number):
        return float(value) if np.isfinite(value) else float("inf")
    return "" if value is None else str(value)
