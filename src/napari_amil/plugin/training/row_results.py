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
    "accuracy": ("Accuracy", "Share of the bags whose class is right."),
    "balanced_accuracy": ("Balanced accuracy", "Mean over the classes of the share that is right."),
    "weighted_f1": ("Weighted F1", "Mean F1 of the classes, weighted by their bags."),
    "macro_auroc": ("ROC area", "Mean over the classes of the area under the ROC curve."),
    "macro_auprc": ("PR area", "Mean over the classes of the area under the precision-recall curve."),
}
_HEADS = {
    "Mean ± deviation": "Over the trainings, each with another seed.",
    "95 %": "In this interval the figure lies for 95 % of the draws of other patients (bootstrap).",
}


class RowResults(QWidget):
    """A table with one line per figure."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sentence = wrapped()
        self.table = QTableWidget(0, len(_HEADS))
        for column, (head, tip) in enumerate(_HEADS.items()):
            self.table.setHorizontalHeaderItem(column, _item(head, tip))
        self.table.setAccessibleName("Row of the ablation table")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
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
        for line, name in enumerate(names):
            self.table.setVerticalHeaderItem(line, _item(*_ROWS[name]))
            for column, text in enumerate(_cells(row, name)):
                self.table.setItem(line, column, QTableWidgetItem(text))
        height = self.table.rowHeight(0) if names else 0
        self.table.setFixedHeight(height * (len(names) + 1) + 2 * self.table.frameWidth() + 6)
        self.table.setVisible(bool(names))
        self.sentence.setText(_words(row))
        self.sentence.setToolTip(str(folder / TABLE))
        self.sentence.show()


def read_row(file: Path) -> pd.Series | None:
    """Return the row of the table, None while there is none."""
    try:
        table = pd.read_csv(file)
    except (OSError, ValueError):
        return None
    return table.iloc[0] if len(table) else None


def _words(row: pd.Series) -> str:
    """Return how the row was made, and where the rows are that it stands beside."""
    runs, folds = int(row.get("n_runs", 1)), int(row.get("n_folds", 1))
    parts = f"in each of {folds} folds" if folds > 1 else "without the patients of the test"
    return (
        f"Trained {runs} times {parts}, each time with another seed. The other rows, of the published method "
        "and of single changes, come from 'napari-amil ablate'."
    )


def _cells(row: pd.Series, name: str) -> tuple[str, str]:
    """Return mean with deviation over the runs, and interval over patients; empty where unknown."""
    low, high, spread = (row.get(f"{name}_{end}") for end in ("low", "high", "sd"))
    mean = f"{row[name]:.3f}" + (f" ± {spread:.3f}" if pd.notna(spread) else "")
    return mean, f"{low:.2f} to {high:.2f}" if pd.notna(low) and pd.notna(high) else ""


def _item(text: str, tip: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setToolTip(tip)
    return item
