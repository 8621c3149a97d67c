"""What a cell must fulfil to be shown: ``anomaly > 5 and area_px < 900``, read without running anything."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError

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


class Condition(NamedTuple):
    """One column held against one value; a missing value fulfils nothing."""

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
    """Return which rows of ``table`` fulfil every condition.

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
