"""A table as plain arrays that ``numpy.savez`` takes, and back: quick to open, nothing unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_NAMES, _VALUES = "columns", "column/"
_CODES, _TEXTS = "codes/", "texts/"
_MISSING = -1


def table_arrays(table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns of a table as arrays; `table_from_arrays` is the way back.

    A column of text becomes numbers of its different texts; a missing text is -1.
    """
    arrays: dict[str, NDArray[Any]] = {_NAMES: np.array([str(name) for name in table.columns], dtype=np.str_)}
    for name in table.columns:
        column = table[name]
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            arrays[f"{_VALUES}{name}"] = column.to_numpy()
            continue
        codes, texts = pd.factorize(column.astype(object), use_na_sentinel=True)
        arrays[f"{_CODES}{name}"] = codes.astype(np.int32)
        arrays[f"{_TEXTS}{name}"] = np.array([str(text) for text in texts], dtype=np.str_)
    return arrays


def table_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """Return the table that `table_arrays` wrote; a missing text is None.

    Raises
    ------
    KeyError
        If there is no such table among the arrays.
    """
    columns: dict[str, NDArray[Any]] = {}
    for name in arrays[_NAMES].tolist():
        if f"{_CODES}{name}" not in arrays:
            columns[name] = arrays[f"{_VALUES}{name}"]
            continue
        texts = np.array([*arrays[f"{_TEXTS}{name}"].tolist(), None], dtype=object)
        columns[name] = texts[arrays[f"{_CODES}{name}"]]
    return pd.DataFrame(columns)
