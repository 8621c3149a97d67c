"""Filter of a gallery: conditions such as 'anomaly > 5 and area_px < 900', and their widget."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.theme import wrapped

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_PART = re.compile(
    r"\s*(?P<column>\w[\w .\-]*?)\s*(?P<sign>>=|<=|!=|==|=|>|<)\s*(?P<value>.+?)\s*", re.DOTALL
)
_AND = re.compile(r"\s+and\s+|\s*[,;&]\s*", re.IGNORECASE)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_EVERY = "any"
_TYPING_MS = 250


class Condition(NamedTuple):
    """A comparison of one column with one value; a missing value never fulfils it."""

    column: str
    sign: str
    value: str


def parse_conditions(text: str, columns: Iterable[str]) -> list[Condition]:
    """Return the conditions that ``text`` joins by "and"; no text, no condition.

    Parameters
    ----------
    text
        Such as ``anomaly > 5 and status = scored``.
    columns
        Names that may stand on the left.

    Raises
    ------
    AmilError
        If a part is no comparison or names a column that is not there.
    """
    known = set(columns)
    conditions = []
    for part in _AND.split(text.strip()) if text.strip() else ():
        found = _PART.fullmatch(part)
        if found is None:
            raise AmilError(
                f"'{part.strip()}' is no comparison; write a column, a sign and a value: anomaly > 5"
            )
        if found["column"] not in known:
            raise AmilError(f"There is no column '{found['column']}'; the menu above lists the scores.")
        sign = "=" if found["sign"] == "==" else found["sign"]
        conditions.append(Condition(found["column"], sign, found["value"].strip("\"'")))
    return conditions


def fulfilled(table: pd.DataFrame, conditions: Iterable[Condition]) -> NDArray[np.bool_]:
    """Return a mask of the rows of ``table`` that fulfil every condition.

    Raises
    ------
    AmilError
        If a number is asked of a word, or the other way round.
    """
    keep = np.ones(len(table), dtype=bool)
    for condition in conditions:
        keep &= _holds(table[condition.column], condition)
    return keep


def _holds(column: pd.Series, condition: Condition) -> NDArray[np.bool_]:
    compare = OPERATORS[condition.sign]
    if pd.api.types.is_bool_dtype(column):
        truth = _TRUTH.get(condition.value.lower())
        if truth is None or condition.sign not in {"=", "!="}:
            raise AmilError(f"'{condition.column}' is yes or no; write {condition.column} = yes")
        return np.asarray(compare(column.to_numpy(bool), truth))
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(float)
        return np.asarray(compare(values, _number(condition)) & np.isfinite(values))
    if condition.sign not in {"=", "!="}:
        raise AmilError(f"'{condition.column}' holds words; compare them with = or !=")
    return np.asarray(compare(column.astype(str).to_numpy(), condition.value) & column.notna().to_numpy())


def _number(condition: Condition) -> float:
    try:
        return float(condition.value)
    except ValueError as error:
        raise AmilError(
            f"'{condition.column}' holds numbers, not '{condition.value}'; write {condition.column} > 5"
        ) from error


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
        """Offer the columns and groups of ``cells``; choices that it still has are kept."""
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
        """Return the rows of ``table`` that are shown; an invalid comparison is reported and ignored."""
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
