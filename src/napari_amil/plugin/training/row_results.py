"""The row of a training in the ablation table: its figures over folds and runs, with their spread."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_amil.plugin.window.theme import wrapped

TABLE = "table.csv"
_ROWS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "weighted_f1": "Weighted F1",
    "macro_auroc": "Macro ROC area",
    "macro_auprc": "Macro precision-recall area",
}
_HEADS = ("Mean of the runs", "Deviation", "95 % of patients")


class RowResults(QWidget):
    """A table with one line per figure."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sentence = wrapped()
        self.table = QTableWidget(0, len(_HEADS))
        self.table.setHorizontalHeaderLabels(list(_HEADS))
        self.table.setAccessibleName("Row of the ablation table")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.sentence)
        layout.addWidget(self.table)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.table.setRowCount(0)
        self.table.hide()
        self.sentence.hide()

    def show_folder(self, folder: Path) -> None:
        """Show the row in a run folder, nothing while there is none."""
        self.clear()
        row = read_row(folder / TABLE)
        if row is None:
            return
        names = [name for name in _ROWS if pd.notna(row.get(name))]
        self.table.setRowCount(len(names))
        self.table.setVerticalHeaderLabels([_ROWS[name] for name in names])
        for line, name in enumerate(names):
            for column, text in enumerate(_cells(row, name)):
                self.table.setItem(line, column, QTableWidgetItem(text))
        height = self.table.rowHeight(0) if names else 0
        self.table.setFixedHeight(height * (len(names) + 1) + 2 * self.table.frameWidth() + 6)
        self.table.setVisible(bool(names))
        runs = int(row.get("n_runs", 1))
        self.sentence.setText(
            f"Trained {runs} times in every fold, each time with another seed; the whole table with the "
            f"published method comes from 'napari-amil ablate'. The row is in {folder / TABLE}."
        )
        self.sentence.show()


def read_row(file: Path) -> pd.Series | None:
    """Return the row of the table, None while there is none."""
    try:
        table = pd.read_csv(file)
    except (OSError, ValueError):
        return None
    return table.iloc[0] if len(table) else None


def _cells(row: pd.Series, name: str) -> tuple[str, str, str]:
    """Return mean, deviation over the runs and interval over patients of a figure, empty where unknown."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    between = f"{low:.3f} to {high:.3f}" if pd.notna(low) and pd.notna(high) else ""
    spread = row.get(f"{name}_sd")
    return f"{row[name]:.3f}", f"{spread:.3f}" if pd.notna(spread) else "", between
