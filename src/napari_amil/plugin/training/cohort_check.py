"""Contents of a cohort as a tree, and its problems with their remedies."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QFont
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_amil.plugin.window.theme import wrapped
from napari_amil.worker.protocol.messages import Problem

_COLUMNS = ("", "Patients", "Bags", "Images", "Cells")
_HEIGHTS_PX = (90, 190)
_IMAGES, _CELLS = 3, 4
_TO_FIND = "…"
"""Stands where cells are still to be found by the detector."""
_UNLABELLED = "without a label"
_MARKS = {"error": "#d64545", "warning": "#e3b617", "": "#3fa66b"}
_MOST = 12
"""Problems that are shown; more would be a wall of text."""


class CohortPreview(QWidget):
    """The tree, and a line with the sums."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(list(_COLUMNS))
        self.tree.setAccessibleName("What the cohort holds")
        self.tree.setUniformRowHeights(True)
        self.tree.setIndentation(8)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        header = self.tree.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setMinimumSectionSize(30)
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.sums = wrapped()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.tree)
        layout.addWidget(self.sums)
        self.clear()

    def clear(self, words: str = "") -> None:
        """Show nothing, or a sentence in its place."""
        self.tree.clear()
        self.tree.setVisible(False)
        self.sums.setText(words)
        self.sums.setVisible(bool(words))

    def show_cohort(
        self, bags: pd.DataFrame, control: str, clinical: list[str], notes: Sequence[str] = ()
    ) -> None:
        """Show a table ``bag, patient, label, fold, images, cells`` of a cohort.

        Parameters
        ----------
        bags
            One line per bag; ``cells`` is missing where they are still to be found.
        control
            The control class, which comes first.
        clinical
            Names of the clinical values.
        notes
            Files and rows skipped in reading.
        """
        self.tree.clear()
        labels = bags["label"].fillna(_UNLABELLED)
        names = sorted(labels.unique(), key=lambda name: (name != control, name == _UNLABELLED, str(name)))
        items = [self._class_item(str(name), bags[labels == name], control) for name in names]
        folds = bags.dropna(subset="fold")
        if len(folds):
            parts = [(f"Fold {int(fold)}", part) for fold, part in folds.groupby("fold")]
            items += [QTreeWidgetItem(_row(name, part)) for name, part in parts]
        self.tree.addTopLevelItems(items)
        self.tree.setColumnHidden(_IMAGES, bool((bags["images"] == 1).all()))  # as many as bags
        self.tree.setColumnHidden(_CELLS, bool(bags["cells"].isna().all()))
        for item in items:
            _align(item)
        wanted = int(1.1 * (len(items) + 2) * self.tree.fontMetrics().lineSpacing())
        self.tree.setFixedHeight(min(max(wanted, _HEIGHTS_PX[0]), _HEIGHTS_PX[1]))
        self.tree.setVisible(True)
        self.sums.setText(_sums(bags, len(names), clinical, notes))
        self.sums.setVisible(True)

    def _class_item(self, name: str, bags: pd.DataFrame, control: str) -> QTreeWidgetItem:
        needs_mark = name == control and "control" not in name.lower()
        item = QTreeWidgetItem(_row(f"{name} (control)" if needs_mark else name, bags))
        item.setToolTip(0, item.text(0))
        font = QFont(self.font())
        font.setBold(True)
        item.setFont(0, font)
        for patient, own in bags.groupby("patient", sort=False):
            below = QTreeWidgetItem(["", "", *_row("", own)[2:]])
            below.setText(0, str(patient).removeprefix(f"{name}/"))
            below.setToolTip(0, below.text(0))
            if len(own) > 1:
                rows = [_row(str(bag).rsplit("/", 1)[-1], part) for bag, part in own.groupby("bag")]
                below.addChildren([QTreeWidgetItem([row[0], "", "", *row[3:]]) for row in rows])
            item.addChild(below)
        return item


def _row(name: str, bags: pd.DataFrame) -> list[str]:
    cells = _TO_FIND if bags["cells"].isna().all() else f"{int(bags['cells'].sum()):,}"
    return [name, str(bags["patient"].nunique()), str(len(bags)), str(int(bags["images"].sum())), cells]


def _align(item: QTreeWidgetItem) -> None:
    """Put numbers to the right, in the whole branch."""
    for column in range(1, len(_COLUMNS)):
        item.setTextAlignment(column, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
    for number in range(item.childCount()):
        child = item.child(number)
        if child is not None:
            _align(child)


def _sums(bags: pd.DataFrame, n_classes: int, clinical: list[str], notes: Sequence[str]) -> str:
    """Return the sums, and what else is known, as a few sentences."""
    classes = f"{n_classes} class{'' if n_classes == 1 else 'es'}"
    summary_text = f"{len(bags):,} bags of {bags['patient'].nunique():,} patients in {classes}."
    if bags["cells"].isna().all():
        summary_text += " The cells are found by the detector."
    if clinical:
        shown = ", ".join(clinical[:4]) + (" …" if len(clinical) > 4 else "")
        known = int((bags["clinical"] > 0).sum())
        summary_text += f" Clinical table: {shown}, for {known} of the bags."
    if notes:
        summary_text += f" Note: {'; '.join(notes)}."
    return summary_text


class ProblemList(QWidget):
    """The problems of a cohort."""

    changed = Signal()
    """A problem was accepted, or is no longer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._boxes: dict[str, QCheckBox] = {}
        self._rows: list[QWidget] = []
        self.texts: list[str] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(4)
        self.setAccessibleName("Problems of the cohort")

    def clear(self) -> None:
        """Show nothing; what was accepted is forgotten."""
        self._boxes, self.texts = {}, []
        for row in self._rows:
            self._layout.removeWidget(row)
            row.deleteLater()
        self._rows = []

    def say(self, text: str, severity: str = "") -> None:
        """Show one sentence alone."""
        self.clear()
        self._add(text, severity)

    def show_problems(self, problems: Sequence[Problem]) -> None:
        """Show problems; what was accepted stays so."""
        accepted = self.allowed()
        self.clear()
        if not problems:
            self._add("No problem was found: images, patients, classes and folds fit together.", "")
        grave = [problem.kind for problem in problems if problem.severity == "error"]
        for problem in problems[:_MOST]:
            self._add(problem.message, problem.severity)
            if problem.severity == "error":
                grave.remove(problem.kind)
                if problem.kind not in grave:  # below the last of its kind
                    self._add_box(problem.kind, is_accepted=problem.kind in accepted)
        if len(problems) > _MOST:
            self._add(f"{len(problems) - _MOST} more: 'napari-amil check' lists them all.", "warning")
        for kind in dict.fromkeys(grave):
            self._add_box(kind, is_accepted=kind in accepted)
        self.changed.emit()

    def refused(self) -> list[str]:
        """Return the kinds of grave problems that were not accepted."""
        return [kind for kind, box in self._boxes.items() if not box.isChecked()]

    def allowed(self) -> tuple[str, ...]:
        """Return the kinds of grave problems that were accepted."""
        return tuple(kind for kind, box in self._boxes.items() if box.isChecked())

    def _add(self, text: str, severity: str) -> None:
        label = wrapped(text)
        label.setStyleSheet(
            f"QLabel {{ border-left: 3px solid {_MARKS[severity]}; padding: 1px 0px 1px 8px; }}"
        )
        label.setAccessibleName(f"{severity or 'good'}: {text}")
        self.texts.append(text)
        self._insert(label)

    def _add_box(self, kind: str, *, is_accepted: bool) -> None:
        box = QCheckBox("Train in spite of this")
        box.setToolTip(f"The same as --allow {kind} on the command line; results may be wrong.")
        box.setChecked(is_accepted)
        box.toggled.connect(self.changed)
        self._boxes[kind] = box
        self._insert(box)

    def _insert(self, row: QWidget) -> None:
        self._rows.append(row)
        self._layout.addWidget(row)
