"""Tables of cells and bags as CSV, Parquet or plain arrays, and back with the types of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, column_of
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding, replacing
from napari_amil.core.base.optional import optional
from napari_amil.core.base.tables import read_table
from napari_amil.core.cohort.class_labels import UNKNOWN_WORDS

_NAMES, _VALUES = "columns", "column/"
_CODES, _TEXTS = "codes/", "texts/"
_MISSING = -1
_LARGEST_PX = 1e9
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": False}


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV or Parquet, whichever the suffix says, in one step.

    Numbers keep every digit; what is unknown is an empty field in CSV and null in Parquet.

    Raises
    ------
    AmilError
        If the suffix is another one, or the file cannot be written.
    MissingExtraError
        If Parquet is wanted and pyarrow is not installed.
    """
    suffix = _format(path)
    if suffix == ".parquet":
        optional("pyarrow")
    with replacing(path) as partial:
        if suffix == ".parquet":
            table.to_parquet(partial, engine="pyarrow", index=False)
        else:
            table.to_csv(partial, index=False, encoding="utf-8", lineterminator="\n")


def load_table(path: Path) -> pd.DataFrame:
    """Return a table of CSV or Parquet: numbers as numbers, flags as booleans, names as text.

    Raises
    ------
    AmilError
        If the file cannot be read, or a flag is neither true nor false.
    """
    if _format(path) == ".csv":
        text = read_table(path)
        return pd.DataFrame({name: _typed(text[name], path) for name in text}).reset_index(drop=True)
    optional("pyarrow")
    with decoding(path, "cannot be read as a Parquet table"):
        return pd.read_parquet(path, engine="pyarrow")


def _format(path: Path) -> str:
    """Return the suffix of a table in small letters; refuse unsupported formats."""
    suffix = path.suffix.lower()
    if suffix not in {".csv", ".parquet"}:
        raise AmilError(f"'{path}' is no name of a table; let it end in .csv or .parquet.")
    return suffix


def _typed(column: pd.Series, path: Path) -> pd.Series:
    """Return a column of text as flags, whole numbers, numbers or the text that it is."""
    kind = column_of(str(column.name)).kind
    if kind != "number":
        return column if kind == "text" else _flags(column, path)
    try:
        return column.astype(np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return column.map(lambda text: float("nan" if text.casefold() in UNKNOWN_WORDS else text))
    except ValueError:
        return column


def _flags(column: pd.Series, path: Path) -> pd.Series:
    """Return a column of ``True`` and ``False``, or 1 and 0, as booleans; unknown values are False."""
    flags = column.str.lower().map(_FLAGS)
    if flags.isna().any():
        wrong = column[flags.isna()].iloc[0]
        raise AmilError(f"The column '{column.name}' of '{path}' holds '{wrong}'; write True or False.")
    return flags.astype(bool)


def boxes_of(table: pd.DataFrame) -> NDArray[np.float32]:
    """Return the boxes ``(n_rows, 4)`` of a table; one that lies beyond any image is NaN."""
    numbers = table[BOX_COLUMNS].to_numpy(np.float64)
    numbers = np.where(np.abs(numbers) <= _LARGEST_PX, numbers, np.nan)
    return numbers.astype(np.float32)


def table_arrays(table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns of a table as arrays that ``numpy.savez`` takes; `table_from_arrays` reads them.

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
