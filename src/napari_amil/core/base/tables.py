"""Read a table of text from CSV as people save it: any usual delimiter, with or without a mark in front."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from pathlib import Path

import pandas as pd

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.files import regular_file


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV as text, stripped and in composed Unicode; an empty field is ``""``.

    The delimiter is the comma, semicolon or tabulator that the header holds most of. Row ``i`` of the
    result is row ``i + 2`` of a spreadsheet. Image names keep their code points, to match the disk.

    Raises
    ------
    CohortError
        If the file is not readable as UTF-8 text with a header and rows as long as it.
    """
    try:
        with regular_file(path, CohortError).open(encoding="utf-8-sig", newline="") as file:
            delimiter = max(",;\t", key=file.readline().count)
            file.seek(0)
            rows = list(csv.reader(file, delimiter=delimiter))
    except UnicodeDecodeError as error:
        raise CohortError(f"The table '{path}' is not UTF-8 text; save it as 'CSV UTF-8'.") from error
    except (OSError, csv.Error) as error:
        raise CohortError(f"The table '{path}' cannot be read ({error}); save it again as CSV.") from error
    columns = [_clean(name) for name in rows[0]] if rows else []
    filled = {i: row for i, row in enumerate(rows[1:]) if any(row)}
    _check_shape(path, columns, filled)
    table = pd.DataFrame.from_dict(filled, orient="index", columns=columns, dtype=str)
    return table.apply(lambda column: column.map(str.strip if column.name == "image" else _clean))


def _check_shape(path: Path, columns: list[str], rows: dict[int, list[str]]) -> None:
    """Refuse a table without rows, with two columns of one name, or with rows unlike its header."""
    if not rows:
        raise CohortError(f"The table '{path}' has no row below its header; fill it in.")
    repeated = next((name for name, count in Counter(columns).items() if count > 1), None)
    if repeated is not None:
        raise CohortError(f"The table '{path}' has two columns '{repeated}'; rename one.")
    for i, row in rows.items():
        if len(row) != len(columns):
            raise CohortError(
                f"Row {i + 2} of '{path}' has {len(row)} fields but the header {len(columns)}; "
                "quote texts that hold the delimiter."
            )


def _clean(text: str) -> str:
    """Return text without spaces around it, in composed Unicode (one code point per umlaut)."""
    return unicodedata.normalize("NFC", text.strip())
