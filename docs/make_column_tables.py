"""Write the tables of columns in formats.md from the registry: ``python docs/make_column_tables.py``."""

from __future__ import annotations

import re
from pathlib import Path

from napari_amil.core.base.column import Column
from napari_amil.core.base.columns import COLUMNS

FORMATS = Path(__file__).with_name("formats.md")
_TABLE = re.compile(r"(<!-- columns of (?P<table>\w+) -->\n).*?(<!-- end of columns -->)", re.DOTALL)
_HEAD = ["| column | in the window | meaning | values | unusual |", "|---|---|---|---|---|"]


def with_tables(text: str) -> str:
    """Return a page with the table of columns between each pair of marks written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{column_table(found['table'])}\n{found[3]}", text)


def column_table(table: str) -> str:
    """Return the columns of a table as Markdown."""
    rows = [_row(column) for column in COLUMNS.values() if column.table == table]
    return "\n".join([*_HEAD, *rows, ""])


def _row(column: Column) -> str:
    meaning = column.meaning
    if column.computed:
        meaning += f" {column.computed[0].upper()}{column.computed[1:]}."
    if column.needs_sample:
        meaning += " Needs all cells of the sample."
    texts = (column.title, meaning, _values(column), column.unusual)
    return " | ".join([f"| `{column.name}`", *(text.replace("<", "\\<") for text in texts)]) + " |"


def _values(column: Column) -> str:
    """Return range and unit of the values."""
    if column.kind != "number":
        return {"text": "text", "flag": "true or false"}[column.kind]
    if column.low is None:
        return column.unit
    reach = f"{column.low:g} or more" if column.high is None else f"{column.low:g} to {column.high:g}"
    return f"{reach} {column.unit}".rstrip()


if __name__ == "__main__":
    FORMATS.write_text(with_tables(FORMATS.read_text(encoding="utf-8")), encoding="utf-8")
