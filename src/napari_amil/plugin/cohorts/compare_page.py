"""Comparison of two groups of samples by one number per patient."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_amil.core.base.columns import column_of, names_in
from napari_amil.plugin.cohorts.bag_table import BagFilter, BagModel, fit_height, row_view
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.path_choice import PathChoice
from napari_amil.plugin.window.theme import PAGE_MARGINS, wrapped
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import Compare, Compared

_OF_TABLE = "a table of mine"
_KNOWN = ("label", "verdict", "predicted")
_MOST_GROUPS, _MOST_ROWS = 40, 10


class ComparePage(QWidget):
    """Choice of two groups and Compare; then means, effect size and p of each statistic."""

    def __init__(self, viewer: ViewerModel, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self._state = open_results_of(viewer)
        self.by = _choice("Groups by", "What parts the samples into groups.")
        self.first = _choice("First group", "For instance before a treatment, or the controls.")
        self.second = _choice("Second group", "A positive Cliff's delta means that this group has more.")
        self.table = PathChoice("Choose a table of groups", "drop a table", "Tables (*.csv)")
        self.table.setToolTip("A table with the columns 'bag' or 'patient', and 'group' with two groups.")
        self.job = JobBar(
            "Compare", "One number of each patient counts; patients are dealt to groups at random."
        )
        self.note = wrapped()
        self.model, self.rows = BagModel(self, "comparison"), BagFilter(self)
        self.rows.setSourceModel(self.model)
        self.view = row_view(self.rows, "Comparison", "Hover over a head for its meaning.")
        self._form = QFormLayout()
        for widget in (self.by, self.first, self.second):
            self._form.addRow(widget.accessibleName().removesuffix(" group"), widget)
        self._form.addRow("Table", self.table)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*PAGE_MARGINS)
        layout.addLayout(self._form)
        for box in (self.job, self.note):
            layout.addWidget(box)
        layout.addWidget(self.view)
        layout.addStretch()
        self.by.currentTextChanged.connect(self._on_by_changed)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_compared)
        self._state.changed.connect(self._on_project_changed)
        self._on_project_changed()

    def run(self) -> None:
        """Compare the two groups in the background."""
        project, folder = self._state.project, self._state.folder
        if self.job.is_running or project is None or folder is None:
            return
        out = self._worker.new_folder()
        if self.by.currentText() == _OF_TABLE:
            chosen = self.table.value()
            if chosen is None:
                self.job.say("Choose the table of the groups first.", "error")
                return
            groups = Path(chosen)
        else:
            wanted = [self.first.currentText(), self.second.currentText()]
            if len(set(wanted)) < 2:
                self.job.say("Choose two different groups.", "error")
                return
            groups = out / "bags.csv"
            column = project.bags[str(self.by.currentData())].astype(str)
            ranks = {name: f"{number}: {name}" for number, name in enumerate(wanted, start=1)}
            table = pd.DataFrame({"bag": project.bags["bag"], "group": column.map(ranks)}).dropna()
            table.to_csv(groups, index=False)
        self.job.follow(self._worker.start(Compare(folder=folder, groups=groups, out=out)))

    def _on_compared(self, found: Compared) -> None:
        table = pd.read_csv(found.table)
        paired = bool(table["paired"].all())
        how = (
            "patients are compared with themselves" if paired else "patients are compared between the groups"
        )
        self.note.setText(
            f"{table['first'].iloc[0]} and {table['second'].iloc[0]}; {how}. For research only."
        )
        names = table["statistic"].map(lambda name: column_of(str(name)).title)
        self.model.show(table.assign(statistic=names)[names_in("comparison", table)])
        self.view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.view.resizeColumnsToContents()
        fit_height(self.view, _MOST_ROWS)
        self.view.show()

    def _on_project_changed(self) -> None:
        project = self._state.project
        self.view.setVisible(False)
        self.note.setText("")
        if project is None:
            return
        self.by.blockSignals(True)
        self.by.clear()
        for name in _KNOWN:
            if name in project.bags and 2 <= len(set(project.bags[name].dropna()) - {""}) <= _MOST_GROUPS:
                self.by.addItem(column_of(name, "bags").heading, name)
        self.by.addItem(_OF_TABLE, "")
        self.by.blockSignals(False)
        self._on_by_changed()

    def _on_by_changed(self, _: str = "") -> None:
        project, column = self._state.project, str(self.by.currentData() or "")
        self._form.setRowVisible(self.table, not column)
        for number, combo in enumerate((self.first, self.second)):
            self._form.setRowVisible(combo, bool(column))
            combo.clear()
            if column and project is not None:
                names = sorted(set(project.bags[column].dropna().astype(str)) - {""})
                names = [project.control, *names] if project.control in names else names
                combo.addItems(list(dict.fromkeys(names)))
                combo.setCurrentIndex(min(number, combo.count() - 1))


def _choice(name: str, tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setAccessibleName(name)
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(12)
    return combo
