"""Results of a finished training: figures, metrics, patients, and its row of the ablation table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QMouseEvent, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.columns import PROBABILITY, column_of, parts
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json, regular_file
from napari_amil.plugin.window.theme import wrapped

_FIGURES = {"confusion": "Confusion", "curves": "Curves", "calibration": "Calibration", "scores": "Cells"}
_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "weighted_f1": "weighted F1",
    "macro_auroc": "macro ROC area",
    "macro_auprc": "macro precision-recall area",
}
_COLUMNS = ("patient", "label", "predicted", "probability", "n_bags")
_HEIGHT_PX = 300
TABLE = "table.csv"
_ROWS = {
    "accuracy": ("Accuracy", "Share of the bags whose class is right."),
    "balanced_accuracy": ("Balanced accuracy", "Mean over the classes of the share that is right."),
    "weighted_f1": ("Weighted F1", "Mean F1 of the classes, weighted by their bags."),
    "macro_auroc": ("ROC area", "Mean over the classes of the area under the ROC curve."),
    "macro_auprc": ("PR area", "Mean over the classes of the area under the precision-recall curve."),
}
_ROW_HEADS = {
    "Mean ± deviation": "Over the trainings, each with another seed.",
    "95 %": "In this interval the figure lies for 95 % of the draws of other patients (bootstrap).",
}


class RunResults(QWidget):
    """Tabs with the figures and the table of patients of one run folder."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.metrics = wrapped()
        self.tabs = QTabWidget()
        self.tabs.setFixedHeight(_HEIGHT_PX)
        self.tabs.setUsesScrollButtons(True)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels([column_of(name, "groups").heading for name in _COLUMNS])
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSortingEnabled(True)
        self.table.setAccessibleName("Patients of the test")
        for header, is_shown in ((self.table.verticalHeader(), False), (self.table.horizontalHeader(), True)):
            if header is not None:
                header.setVisible(is_shown)
                header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.metrics)
        layout.addWidget(self.tabs)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.tabs.clear()
        self.table.setRowCount(0)
        self.metrics.hide()
        self.tabs.hide()

    def show_folder(self, folder: Path) -> None:
        """Show the results in a run folder; missing ones are left out."""
        self.clear()
        self.metrics.setText(metric_words(folder / "metrics.json"))
        self.metrics.setVisible(bool(self.metrics.text()))
        patients = patient_table(folder / "bags.csv")
        if patients is not None:
            self._fill(patients)
            self.tabs.addTab(self.table, "Patients")
        for name, title in _FIGURES.items():
            file = folder / "figures" / f"{name}.png"
            picture = QPixmap(str(file))
            if not picture.isNull():
                self.tabs.addTab(_Figure(file, picture, title), title)
        self.tabs.setVisible(self.tabs.count() > 0)

    def _fill(self, patients: pd.DataFrame) -> None:
        self.table.setSortingEnabled(False)
        self.table.setRowCount(len(patients))
        for row, values in enumerate(patients.itertuples(index=False)):
            for column, value in enumerate(values):
                item = QTableWidgetItem()
                shown: Any = round(float(value), 3) if isinstance(value, float) else value
                item.setData(Qt.ItemDataRole.DisplayRole, shown if isinstance(shown, float) else str(shown))
                if column == _COLUMNS.index("predicted") and values[1] != values[2]:
                    item.setToolTip("Not the class that this patient has.")
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                self.table.setItem(row, column, item)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)


class _Figure(QLabel):
    """A picture that is as wide as the panel lets it be, on the white that it was drawn on."""

    def __init__(self, file: Path, picture: QPixmap, title: str) -> None:
        super().__init__()
        self._file, self._picture = file, picture
        self.setAccessibleName(f"Figure: {title}")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.setToolTip("A click opens the figure large; it lies in the run folder, as PNG and SVG.")
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def mouseReleaseEvent(self, _: QMouseEvent | None) -> None:  # noqa: N802
        """Show the picture in the program that the system has for it."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._file)))

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Scale the picture to the room that there is."""
        super().resizeEvent(event)
        keep, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        ratio = self.devicePixelRatioF()
        scaled = self._picture.scaled(self.size() * ratio, keep, smooth)
        scaled.setDevicePixelRatio(ratio)
        self.setPixmap(scaled)


def metric_words(file: Path) -> str:
    """Return the metrics of a test as a sentence, empty where there was none."""
    try:
        metrics = read_json(file)
    except AmilError:
        return ""
    if not isinstance(metrics, dict):
        return ""
    known = [
        f"{words} {metrics[name]:.2f}" for name, words in _METRICS.items() if metrics.get(name) is not None
    ]
    if not known:
        return "There was no test: all patients were trained on."
    message = ", ".join(known)
    return f"On patients that were left out: {message}."


def patient_table(file: Path) -> pd.DataFrame | None:
    """Return one line per tested patient: mean probability over the bags, and the class that it makes.

    None if there is no table of bags.
    """
    try:
        bags = pd.read_csv(regular_file(file), dtype={"patient": str, "label": str, "bag": str})
    except (AmilError, OSError, ValueError):
        return None
    columns = parts(bags, PROBABILITY)
    if not columns or not {"patient", "label"} <= set(bags):
        return None
    grouped = bags.groupby("patient", sort=True)
    mean = grouped[list(columns.values())].mean().set_axis(list(columns), axis=1)
    return pd.DataFrame(
        {
            "patient": mean.index,
            "label": grouped["label"].first().to_numpy(),
            "predicted": mean.idxmax(axis=1).to_numpy(),
            "probability": mean.max(axis=1).to_numpy(),
            "n_bags": grouped.size().to_numpy(),
        }
    )


class RowResults(QWidget):
    """A table with one line per figure."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sentence = wrapped()
        self.table = QTableWidget(0, len(_ROW_HEADS))
        for column, (head, tip) in enumerate(_ROW_HEADS.items()):
            self.table.setHorizontalHeaderItem(column, _item(head, tip))
        self.table.setAccessibleName("Results of the repetitions")
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
        table = pd.read_csv(regular_file(file))
    except (AmilError, OSError, ValueError):
        return None
    return table.iloc[0] if len(table) else None


def _words(row: pd.Series) -> str:
    """Return the origin of the row, and the place of the other rows of the table, in words."""
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
