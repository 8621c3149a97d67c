"""Read a CSV table as text: any delimiter and encoding that spreadsheets write, decimal commas, comments."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pandas as pd

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.files import regular_file

NAME_COLUMNS = frozenset(
    {"bag", "patient", "label", "image", "file", "filename", "file_name", "id", "cell_type", "fold"}
)
"""Columns, in small letters, in which ``1,5`` is a name and no number."""
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HEADER_BYTES = 1 << 16
_SEPARATOR = re.compile(r'"?sep=(.)"?[,;\t ]*', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)")


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV as text, stripped and in composed Unicode; an empty field is ``""``.

    The text is UTF-8, or UTF-16 with its mark. The delimiter is that of a first line ``sep=;``, else the
    comma, semicolon or tabulator that the header holds most of. Lines that begin with ``#`` above the header,
    lone ``#`` remarks below it and columns without a name and a value are passed over. Where the comma is not
    the delimiter, a number with a decimal comma gets a point. Row ``i`` of the result is row ``i + 2`` of a
    spreadsheet. Image names keep their code points, to match the disk.

    Raises
    ------
    CohortError
        If the file is not readable as text with a header and rows as long as it.
    """
    skipped, delimiter, lines = _start(_decoded(path))
    try:
        records = list(csv.reader(lines[skipped:], delimiter=delimiter))
    except csv.Error as error:
        raise CohortError(f"The table '{path}' cannot be read ({error}); save it again as CSV.") from error
    columns = _without_empty_end([clean_text(name) for name in records[0]]) if records else []
    rows = {
        skipped + number: _fitted(row, len(columns))
        for number, row in enumerate(records[1:])
        if any(field.strip() for field in row) and not _is_remark(row, len(columns))
    }
    _check_shape(path, columns, rows, delimiter)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=str)
    table = table.apply(lambda column: column.map(str.strip if column.name == "image" else clean_text))
    named = [name for name in table if name or (table[name] != "").any()]
    return table[named] if delimiter == "," else table[named].apply(_with_points)


def header_of(path: Path) -> list[str]:
    """Return the names of the columns of a CSV, none where it is no readable table."""
    try:
        skipped, delimiter, lines = _start(_decoded(path, _HEADER_BYTES))
        header = next(csv.reader(lines[skipped:], delimiter=delimiter), [])
    except (CohortError, csv.Error):
        return []
    return [clean_text(name) for name in header]


def refuse_twin_columns(path: Path, table: pd.DataFrame) -> None:
    """Refuse a table with two columns whose names differ only by case, such as ``Label`` and ``label``.

    Raises
    ------
    CohortError
        Naming both.
    """
    first: dict[str, str] = {}
    for name in map(str, table.columns):
        twin = first.setdefault(name.casefold(), name)
        if twin != name:
            raise CohortError(
                f"The table '{path}' has two columns whose names differ only by case, '{twin}' and '{name}'; "
                "rename or delete one."
            )


def number_hint(text: str) -> str:
    """Return a hint on a field that should be a number, such as one with a decimal comma."""
    return " (decimal comma: write a point)" if "," in text else ""


def _decoded(path: Path, n_bytes: int = -1) -> str:
    """Return the text of a file, or of its first bytes."""
    try:
        with regular_file(path, CohortError).open("rb") as file:
            content = file.read(n_bytes)
    except OSError as error:
        raise CohortError(
            f"The table '{path}' cannot be read ({error.strerror}); check the path and its permissions."
        ) from error
    encoding = next((name for mark, name in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding, "ignore" if n_bytes > 0 else "strict")
    except UnicodeDecodeError as error:
        raise CohortError(
            f"The table '{path}' is not {encoding.upper().removesuffix('-SIG')} text; save it as 'CSV UTF-8'."
        ) from error
    if "\0" in text:
        raise CohortError(f"The table '{path}' holds bytes that are no text; save it as 'CSV UTF-8'.")
    return text


def _start(text: str) -> tuple[int, str, list[str]]:
    """Return the number of lines above the header, the delimiter, and all lines."""
    lines = io.StringIO(text, newline="").readlines()
    marked = _SEPARATOR.fullmatch(lines[0].strip(" \r\n")) if lines else None
    skipped = 1 if marked else 0
    while skipped < len(lines) and (lines[skipped].startswith("#") or not lines[skipped].strip()):
        skipped += 1
    header = lines[skipped] if skipped < len(lines) else ""
    return skipped, marked[1] if marked else max(",;\t", key=header.count), lines


def _without_empty_end(fields: list[str]) -> list[str]:
    """Return fields up to the last that is filled, as spreadsheets add empty ones."""
    while fields and not fields[-1].strip():
        fields = fields[:-1]
    return fields


def _fitted(row: list[str], n_columns: int) -> list[str]:
    """Return a row without the empty fields beyond the last column."""
    return row[:n_columns] + _without_empty_end(row[n_columns:])


def _is_remark(row: list[str], n_columns: int) -> bool:
    """Return whether a row is a remark: it begins with ``#`` and is no full row."""
    return row[0].startswith("#") and (len(row) != n_columns or not any(row[1:]))


def _check_shape(path: Path, columns: list[str], rows: dict[int, list[str]], delimiter: str) -> None:
    """Refuse a table without rows, with two columns of one name, or with rows unlike its header."""
    if not rows:
        raise CohortError(f"The table '{path}' has no row below its header; fill it in.")
    repeated = next((name for name, count in Counter(columns).items() if count > 1 and name), None)
    if repeated is not None:
        raise CohortError(f"The table '{path}' has two columns '{repeated}'; rename one.")
    if columns.count("") > 1:
        raise CohortError(f"The table '{path}' has several columns without a name; name or delete them.")
    for number, row in rows.items():
        if len(row) != len(columns):
            remedy = "quote texts that hold the delimiter"
            if delimiter == "," and len(row) > len(columns):
                remedy += ", or, if numbers have a decimal comma, separate fields by semicolons"
            raise CohortError(
                f"Row {number + 2} of '{path}' has {len(row)} fields but the header {len(columns)}; {remedy}."
            )


def _with_points(column: pd.Series) -> pd.Series:
    """Return a column of text with points in place of decimal commas; names stay as they are."""
    if str(column.name).lower() in NAME_COLUMNS:
        return column
    return column.map(_with_point)


def _with_point(text: str) -> str:
    found = _DECIMAL_COMMA.fullmatch(text)
    return f"{found[1]}.{found[2]}" if found else text


def clean_text(text: str) -> str:
    """Return text without spaces around it, in composed Unicode (one code point per umlaut)."""
    return unicodedata.normalize("NFC", text.strip())
