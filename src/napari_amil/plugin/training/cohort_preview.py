"""What a cohort holds, as a tree: classes, their patients and bags, and the folds."""

from __future__ import annotations

import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from napari_amil.plugin.window.theme import wrapped

_COLUMNS = ("", "Patients", "Bags", "Images", "Cells")
_HEIGHTS_PX = (90, 190)
_TO_FIND = "…"
"""Stands where cells are still to be found by the detector."""
_UNLABELLED = "without a label"


class CohortPreview(QWidget):
    """The tree, and a line with the sums."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(list(_COLUMNS))
        self.tree.setAccessibleName("What the cohort holds")
        self.tree.setUniformRowHeights(True)
        self.tree.setIndentation(12)
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

    def show_cohort(self, bags: pd.DataFrame, control: str, clinical: list[str]) -> None:
        """Show a table ``bag, patient, label, fold, images, cells`` of a cohort.

        Parameters
        ----------
        bags
            One line per bag; ``cells`` is missing where they are still to be found.
        control
            The control class, which comes first.
        clinical
            Names of the clinical values.
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
        for item in items:
            _align(item)
        wanted = int(1.1 * (len(items) + 2) * self.tree.fontMetrics().lineSpacing())
        self.tree.setFixedHeight(min(max(wanted, _HEIGHTS_PX[0]), _HEIGHTS_PX[1]))
        self.tree.setVisible(True)
        self.sums.setText(_sums(bags, len(names), clinical))
        self.sums.setVisible(True)

    def _class_item(self, name: str, bags: pd.DataFrame, control: str) -> QTreeWidgetItem:
        is_told = name == control and "control" not in name.lower()
        item = QTreeWidgetItem(_row(f"{name} (control)" if is_told else name, bags))
        font = QFont(self.font())
        font.setBold(True)
        item.setFont(0, font)
        for patient, own in bags.groupby("patient", sort=False):
            below = QTreeWidgetItem(["", "", *_row("", own)[2:]])
            below.setText(0, str(patient).removeprefix(f"{name}/"))
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


def _sums(bags: pd.DataFrame, n_classes: int, clinical: list[str]) -> str:
    """Return the sums, and what else is known, as a few sentences."""
    told = f"{len(bags):,} bags of {bags['patient'].nunique():,} patients in {n_classes} classes."
    if bags["cells"].isna().all():
        told += " The cells are found by the detector."
    if clinical:
        shown = ", ".join(clinical[:4]) + (" …" if len(clinical) > 4 else "")
        known = int((bags["clinical"] > 0).sum())
        told += f" Clinical table: {shown}, for {known} of the bags."
    return told
