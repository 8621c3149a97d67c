"""List of cell types: key, number of named cells, recall and precision of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from napari_amil.plugin.layers.cell_names import MOST

_COLUMNS = ("Key", "Type", "Named", "Found", "Right")
_TIPS = (
    "With Alt in the image, alone in the gallery.",
    "Your name for it.",
    "Cells that you named.",
    "Recall: of the cells that you named so, the share that is called so without its own slide.",
    "Precision: of the cells that it calls so, the share that you named so.",
)
_TYPE = 1
Quality = Mapping[str, tuple[float, float]]
"""``type -> (recall, precision)``, NaN where not known."""


class TypeTable(QTreeWidget):
    """One line per type; the chosen line can be removed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderLabels(_COLUMNS)
        self.setRootIsDecorated(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setAccessibleName("Cell types")
        self.setMinimumHeight(90)
        self.setMaximumHeight(190)
        head = self.header()
        top = self.headerItem()
        assert head is not None
        assert top is not None
        head.setStretchLastSection(False)
        for column, tip in enumerate(_TIPS):
            top.setToolTip(column, tip)
            mode = QHeaderView.ResizeMode
            head.setSectionResizeMode(column, mode.Stretch if column == _TYPE else mode.ResizeToContents)

    def show_types(self, keys: Iterable[str], named: Mapping[str, int], quality: Quality) -> None:
        """Show types with their keys, and types of named cells that have none."""
        chosen = self.chosen()
        self.clear()
        for number, name in enumerate(dict.fromkeys([*keys, *named]), start=1):
            recall, precision = quality.get(name, (float("nan"), float("nan")))
            key = str(number) if number <= MOST and name in keys else ""
            item = QTreeWidgetItem([key, name, f"{named.get(name, 0):,}", _share(recall), _share(precision)])
            for column in (2, 3, 4):
                item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight)
            self.addTopLevelItem(item)
            item.setSelected(name == chosen)

    def chosen(self) -> str:
        """Return the type of the chosen line; empty where none is."""
        return next((item.text(_TYPE) for item in self.selectedItems()), "")

    def lines(self) -> list[tuple[str, ...]]:
        """Return the texts of all lines."""
        items = [self.topLevelItem(row) for row in range(self.topLevelItemCount())]
        return [tuple(item.text(c) for c in range(len(_COLUMNS))) for item in items if item is not None]


def _share(value: float) -> str:
    return f"{value:.0%}" if value == value else ""
