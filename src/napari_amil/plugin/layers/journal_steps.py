"""One step of undo and redo: the changed cells before and after, and its title."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import score_names
from napari_amil.core.base.settings import SelectionSettings
from napari_amil.plugin.layers.rows import CELL_TYPE


@dataclass(frozen=True, eq=False)
class ShapeState:
    """One shape as napari draws it, and the outline that was noted when it was drawn."""

    data: NDArray[np.float64]
    kind: str
    width: float
    drawn: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecordState:
    """State of a record other than its cells."""

    redrawn: frozenset[int]
    removed: frozenset[int]
    scores: pd.DataFrame | None
    bag: dict[str, Any] | None
    selection: SelectionSettings | None

    def is_like(self, other: RecordState) -> bool:
        """Return whether the two sides are equal in all that can be undone."""
        same_sets = (self.redrawn, self.removed) == (other.redrawn, other.removed)
        return same_sets and self.scores is other.scores and self.selection == other.selection


@dataclass(frozen=True, eq=False)
class CellStates:
    """The touched cells on one side of a step; a cell that has no shape here did not exist."""

    shapes: dict[int, ShapeState]
    rows: pd.DataFrame
    memory: RecordState


@dataclass(frozen=True, eq=False)
class EditStep:
    """One gesture: its title, the cells it touched, and these before and after."""

    title: str
    touched: frozenset[int]
    before: CellStates
    after: CellStates
    slider: str = ""
    """Name of the one setting that moved, so that a whole drag of its slider is one step."""


def changed_rows(old: pd.DataFrame, new: pd.DataFrame) -> set[int]:
    """Return the cells that only one table has, or that differ in any column."""
    common = old.index.intersection(new.index)
    columns = old.columns.union(new.columns, sort=False)
    first, second = (table.reindex(index=common, columns=columns) for table in (old, new))
    numbers = [_number_columns(table) for table in (first, second)]
    both = numbers[0].intersection(numbers[1])
    same = _same_numbers(first[both].to_numpy(np.float64), second[both].to_numpy(np.float64)).all(axis=1)
    for name in columns.difference(both):
        same &= same_values(first[name], second[name])
    return set(common[~same]) | set(old.index.symmetric_difference(new.index))


def same_values(old: pd.Series, new: pd.Series) -> NDArray[np.bool_]:
    """Return a mask of the rows in which two columns are equal; nothing equals an empty text."""
    if all(pd.api.types.is_numeric_dtype(one) for one in (old, new)):
        return _same_numbers(old.to_numpy(np.float64), new.to_numpy(np.float64))
    blank_old, blank_new = (one.isna() | (one == "") for one in (old, new))
    return np.asarray(((old == new) | (blank_old & blank_new)).to_numpy(bool))


def _number_columns(table: pd.DataFrame) -> pd.Index:
    return table.columns[[pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]


def _same_numbers(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((old == new) | (np.isnan(old) & np.isnan(new)))


def side_of(
    shapes: dict[int, ShapeState], rows: pd.DataFrame, memory: RecordState, touched: frozenset[int]
) -> CellStates:
    """Return the touched cells among those of one moment."""
    return CellStates({i: shapes[i] for i in shapes if i in touched}, rows[rows.index.isin(touched)], memory)


def joined(first: EditStep, second: EditStep) -> EditStep:
    """Return two steps of one slider as one."""
    older, newer = second.touched - first.touched, first.touched - second.touched
    before = CellStates(
        {**{i: s for i, s in second.before.shapes.items() if i in older}, **first.before.shapes},
        _stacked(first.before.rows, second.before.rows, older),
        first.before.memory,
    )
    after = CellStates(
        {**{i: s for i, s in first.after.shapes.items() if i in newer}, **second.after.shapes},
        _stacked(second.after.rows, first.after.rows, newer),
        second.after.memory,
    )
    return EditStep(second.title, first.touched | second.touched, before, after, second.slider)


def _stacked(rows: pd.DataFrame, others: pd.DataFrame, wanted: frozenset[int]) -> pd.DataFrame:
    more = others[others.index.isin(wanted)].reindex(columns=rows.columns)
    return rows if more.empty else more if rows.empty else pd.concat([rows, more])


def moved_slider(before: CellStates, after: CellStates) -> str:
    """Return the name of the setting that moved, if it was exactly one."""
    old, new = before.memory.selection, after.memory.selection
    if old is None or new is None or old == new:
        return ""
    names = [name for name in type(old).model_fields if getattr(old, name) != getattr(new, name)]
    return ",".join(names)


def title_of(before: CellStates, after: CellStates, touched: frozenset[int]) -> str:
    """Return the title of a step: its change in words."""
    if before.memory.selection != after.memory.selection:
        return "which cells count"
    n = f"{len(touched):,} cell{'' if len(touched) == 1 else 's'}"
    added, gone = after.shapes.keys() - before.shapes.keys(), before.shapes.keys() - after.shapes.keys()
    if added or gone:
        return f"{'draw' if not gone else 'delete' if not added else 'replace'} {n}"
    if any(before.shapes[i] is not after.shapes[i] for i in after.shapes):
        return f"change the outline of {n}"
    if before.memory.scores is not after.memory.scores:
        return f"score {n}"
    differs = {name for name in after.rows if _differs(before.rows, after.rows, name)}
    if differs == {CELL_TYPE}:
        return f"name the type of {n}"
    if differs and differs <= {"status", *score_names(before.rows), *score_names(after.rows)}:
        return f"leave out {n}" if after.rows["status"].eq("excluded").all() else f"take back {n}"
    return f"change {n}"


def _differs(before: pd.DataFrame, after: pd.DataFrame, name: str) -> bool:
    old = before[name] if name in before else pd.Series(np.nan, before.index)
    return not same_values(old, after[name].reindex(old.index)).all()
