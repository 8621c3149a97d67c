"""The registry of columns, by which names in tables are understood.

A column of `napari_amil.core.base.column_list`, or one that was added by `register`, is shown, coloured,
sorted, blanked, scored again, exported and documented by its entry alone. Needs no Qt, torch or pandas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from numbers import Integral, Real
from typing import Any, get_args

from napari_amil.core.base.column import Column, Table, Use
from napari_amil.core.base.column_list import CELLS
from napari_amil.core.base.sample_columns import BAGS, GROUPS

BOX_COLUMNS = ["y0", "x0", "y1", "x1"]
"""Box of a cell in pixels of the original image."""
KEY_COLUMNS = ["bag", "image", "cell_id"]
"""Columns that identify a cell of a cohort."""
PLACE_COLUMNS = ["image", *BOX_COLUMNS]
"""The same cell in several bags has the same place."""
FLAG_COLUMNS = ("touches_border", "overlaps")
ANOMALY = "anomaly_<model>"
CONTRIBUTION = "contribution_<class>"
PROBABILITY = "probability_<class>"
CLINICAL = "clinical_<name>"
MORPH, MORPH_Z = "morph_<name>", "morph_<name>_z"
_LEAST = 0.001
"""A table shows a number closer to zero than this as ``< 0.001``, never as 8.4e-05."""

COLUMNS: dict[tuple[str, str], Column] = {}
"""``(table, name) -> column`` in the order of tables and menus."""


def register(column: Column) -> None:
    """Add a column to the registry, after all others.

    Raises
    ------
    ValueError
        If its table has a column of this name already.
    """
    key = column.table, column.name
    if key in COLUMNS:
        raise ValueError(f"The table of {column.table} has a column '{column.name}' already.")
    COLUMNS[key] = column
    _forget()


def withdraw(column: Column) -> None:
    """Take a column out of the registry again."""
    del COLUMNS[column.table, column.name]
    _forget()


def _forget() -> None:
    for found in (_registered, column_of):
        found.cache_clear()


@cache
def _registered(name: str, table: Table = "cells") -> Column | None:
    """Return the entry of a name: in ``table`` before other tables, the exact name before a family."""
    for own in (table, *get_args(Table)):
        if (own, name) in COLUMNS:
            return COLUMNS[own, name]
    families = [column for column in COLUMNS.values() if column.part(name) is not None]
    return max(families, key=lambda column: (column.table == table, len(column.name)), default=None)


@cache
def column_of(name: str, table: Table = "cells") -> Column:
    """Return the description of a column; one that is not registered has its name alone.

    >>> column_of("probability_ill", "bags").heading, column_of("morph_pallor_area_z").title
    ('ill', 'Shape: pallor area (control deviations)')
    """
    column = _registered(name, table)
    if column is None:
        return Column(name, name.replace("_", " "), "", table, head=name, shown="table")
    part = column.part(name)
    return column if part is None or name == column.name else column.filled(part)


for _column in (*CELLS, *BAGS, *GROUPS):
    register(_column)


def column_name(family: str, part: str) -> str:
    """Return the name of the column of one class, measurement or model.

    >>> column_name(CONTRIBUTION, "ill")
    'contribution_ill'
    """
    return column_of(family).filled(part).name


def score_names(names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that are scores of a cell."""
    found = [(name, _registered(str(name))) for name in names]
    return [name for name, column in found if column and column.is_score and column.table == "cells"]


def menu_names(names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that cells can be coloured and sorted by, the most telling first."""
    stems = list(dict.fromkeys(column.stem for column in COLUMNS.values() if column.table == "cells"))
    found = [(name, column) for name in names if (column := _registered(str(name))) and column.in_menus]
    found.sort(key=lambda entry: (not entry[1].is_score, stems.index(entry[1].stem)))
    return [name for name, _ in found]


def names_in(table: Table, names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that belong to a table, in the order of the registry."""
    order = [column for column in COLUMNS.values() if column.table == table]
    found = [(name, _registered(str(name), table)) for name in names]
    own = [(order.index(column), name) for name, column in found if column in order]
    return [name for _, name in sorted(own, key=lambda entry: entry[0])]


def scores_for(use: Use, names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that have a use, the most telling first."""
    return [name for name in menu_names(names) if use in column_of(name).uses]


def parts(names: Iterable[str], family: str) -> dict[str, str]:
    """Return ``part -> name`` of those of ``names`` that belong to a family.

    >>> parts(["bag", "probability_a", "probability_b"], PROBABILITY)
    {'a': 'probability_a', 'b': 'probability_b'}
    """
    found = {str(name): column for name in names if (column := _registered(str(name)))}
    own = {name: column.part(name) for name, column in found.items() if column.name == family}
    return {part: name for name, part in own.items() if part is not None}


def shown(value: Any) -> str:  # noqa: ANN401
    """Return a value as a table shows it: three digits, a dash where it is unknown.

    >>> shown(0.123456), shown(8.4e-05), shown(float("nan"))
    ('0.123', '< 0.001', '-')
    """
    if not isinstance(value, Real) or isinstance(value, Integral):
        return "-" if value is None or value == "" else str(value)
    number = float(value)
    if not math.isfinite(number):
        return "-"
    if 0 < abs(number) < _LEAST:
        return f"< {_LEAST}" if number > 0 else f"> -{_LEAST}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
