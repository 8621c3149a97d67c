"""Which cells a gallery shows: by status, class of the sample, certainty, and any comparison of a column."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.columns import column_of
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import ANOMALOUS_Q
from napari_amil.plugin.cohorts.cell_table import GROUPS, CellTable
from napari_amil.plugin.cohorts.conditions import fulfilled, parse_conditions
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.theme import wrapped

_EVERY = "any"
_TYPING_MS = 250


class GalleryFilter(QWidget):
    """Check boxes that are always seen; folded, a menu for each kind of group and a line for comparisons."""

    valueChanged = Signal()  # noqa: N815 - Qt's manner

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._columns: list[str] = []
        self.sure = QCheckBox(f"q < {ANOMALOUS_Q:g}")
        self.sure.setToolTip(
            f"Only cells more unusual than chance explains (anomaly_q below {ANOMALOUS_Q:g})."
        )
        self.whole = QCheckBox("Whole cells only")
        self.whole.setToolTip("Leave out cells that the border of their image cuts.")
        self.menus = {name: QComboBox() for name in GROUPS}
        self.text = QLineEdit()
        self.text.setPlaceholderText("anomaly > 5")
        self.text.setClearButtonEnabled(True)
        self.text.setAccessibleName("Comparisons")
        self.problem = wrapped()
        self.problem.hide()
        self._typed = QTimer(self)
        self._typed.setSingleShot(True)
        self._typed.setInterval(_TYPING_MS)
        self._lay_out()
        for box in (self.sure, self.whole):
            box.toggled.connect(self._on_changed)
        for menu in self.menus.values():
            menu.activated.connect(self._on_changed)
        self.text.textChanged.connect(self._on_typed)
        self.text.returnPressed.connect(self._on_changed)
        self._typed.timeout.connect(self._on_changed)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.more = Folded("Filter")
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow(self.sure)
        rows.addRow(self.whole)
        self._labels = {}
        for name, menu in self.menus.items():
            column = column_of(name)
            menu.setToolTip(f"Only cells with this value. {column.meaning}")
            menu.setAccessibleName(column.heading)
            menu.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            self._labels[name] = QLabel(column.heading)
            rows.addRow(self._labels[name], menu)
        rows.addRow("Where", self.text)
        self.more.body.addLayout(rows)
        self.more.body.addWidget(self.problem)
        layout.addWidget(self.more)

    def offer(self, cells: CellTable) -> None:
        """Offer what the table of ``cells`` holds; choices that it still has are kept."""
        table = cells.table
        columns = [str(name) for name in table]
        for name, menu in self.menus.items():
            kinds = cells.kinds.get(name, [])
            chosen = menu.currentData()
            menu.clear()
            menu.addItem(_EVERY, None)
            for kind in kinds:
                menu.addItem(kind, kind)
            menu.setCurrentIndex(max(menu.findData(chosen), 0))
            for widget in (menu, self._labels[name]):
                widget.setVisible(len(kinds) > 1 or menu.currentIndex() > 0)
        self.sure.setEnabled("anomaly_q" in table)
        if columns != self._columns:
            self._columns = columns
            completer = QCompleter(columns, self)
            completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
            self.text.setCompleter(completer)
            self.text.setToolTip(f"Comparisons joined by 'and'. Columns: {', '.join(columns)}")

    def keeps(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows of ``table`` are shown; a comparison that makes no sense is told, not obeyed."""
        keep = np.ones(len(table), dtype=bool)
        if self.sure.isChecked() and "anomaly_q" in table:
            keep &= table["anomaly_q"].to_numpy(float) < ANOMALOUS_Q
        if self.whole.isChecked() and "touches_border" in table:
            keep &= ~table["touches_border"].eq(True).to_numpy(bool)
        for name, menu in self.menus.items():
            if menu.currentData() is not None and name in table:
                keep &= table[name].astype(str).eq(menu.currentData()).to_numpy(bool)
        problem = ""
        try:
            keep &= fulfilled(table, parse_conditions(self.text.text(), table.columns))
        except AmilError as error:
            problem = str(error)
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        return keep

    def _on_typed(self, _: str) -> None:
        self._typed.start()

    def _on_changed(self, *_: object) -> None:
        self._typed.stop()
        self.valueChanged.emit()
