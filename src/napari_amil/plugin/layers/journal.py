"""Undo and redo for the cells of a layer: one step per gesture, at most a hundred steps."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Shapes
from napari.utils.notifications import show_info
from numpy.typing import NDArray
from psygnal import Signal

from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA
from napari_amil.plugin.layers.fast_shapes import fastest_triangulation
from napari_amil.plugin.layers.journal_steps import (
    CellStates,
    EditStep,
    RecordState,
    ShapeState,
    changed_rows,
    joined,
    moved_slider,
    side_of,
    title_of,
)
from napari_amil.plugin.layers.rows import (
    CellRecord,
    complete,
    foreign_names,
    outline_of,
    record_of,
    watch,
    write_features,
)

STEPS = 100
"""Number of steps that can be undone."""
UNDO_KEY = "Control-Z"
REDO_KEYS = ("Control-Shift-Z",)


class Journal:
    """The changes of the cells of one layer, to undo and redo.

    It compares the layer with what it knew whenever `RowKeeper` has put the rows in order, so that it
    misses nothing, whoever made the change. Ids that were given stay given: an undone cell never lends its
    ``cell_id`` to another one. Rows are joined by ``cell_id``; their order is not part of a step,
    nor is what other plugins write into columns of their own.
    """

    changed = Signal()
    """Something was done, undone or done again."""

    def __init__(self, layer: Shapes, record: CellRecord) -> None:
        self._layer = weakref.ref(layer)
        self._record = record
        self._busy = False
        self._shapes: dict[int, ShapeState] = {}
        self._rows = pd.DataFrame()
        self._memory = RecordState(frozenset(), frozenset(), None, None, None)
        self.n_changes = 0
        self.n_saved = 0
        self.undone: list[EditStep] = []
        self.done: deque[EditStep] = deque(maxlen=STEPS)
        self._look()

    def is_of(self, layer: Shapes) -> bool:
        """Return whether these are the steps of ``layer``."""
        return self._layer() is layer

    def before(self) -> None:
        """Take note of scores and verdict, which fall when cells change."""
        memory = self._memory
        record = self._record
        self._memory = RecordState(
            memory.redrawn, memory.removed, memory.scores, record.bag or memory.bag, memory.selection
        )

    def note_columns(self) -> None:
        """Take over columns and values that others wrote into the features in place, without an event."""
        layer = self._layer()
        if not self._busy and layer is not None and layer.nshapes == len(self._shapes):
            rows = _rows_of(layer)
            if rows.index.equals(self._rows.index) and not rows.equals(self._rows):
                self._rows = rows

    def after(self) -> None:
        """Write down what changed, if anything did."""
        layer = self._layer()
        if self._busy or layer is None:
            return
        shapes, rows, memory = self._shapes, self._rows, self._memory
        self._look()
        touched = frozenset(
            {i for i in shapes.keys() | self._shapes.keys() if shapes.get(i) is not self._shapes.get(i)}
            | changed_rows(_own(rows), _own(self._rows))
        )
        if not touched and memory.is_like(self._memory):
            return
        before = side_of(shapes, rows, memory, touched)
        after = side_of(self._shapes, self._rows, self._memory, touched)
        self._add(
            EditStep(title_of(before, after, touched), touched, before, after, moved_slider(before, after))
        )
        self.n_changes += 1
        self.changed.emit()

    def _add(self, step: EditStep) -> None:
        last = self.done[-1] if self.done and not self.undone else None
        if step.slider and last is not None and last.slider == step.slider:
            self.done[-1] = joined(last, step)
        else:
            self.done.append(step)
        self.undone.clear()

    def undo(self) -> str:
        """Undo the last step and return a sentence about it."""
        if not self.done:
            return "There is nothing to undo."
        if self._is_drawing():
            return "Finish the shape first (Enter), then undo."
        step = self.done.pop()
        self.undone.append(step)
        self._restore(step, step.before)
        return f"Undone: {step.title}."

    def redo(self) -> str:
        """Do the last undone step again and return a sentence about it."""
        if not self.undone:
            return "There is nothing to redo."
        if self._is_drawing():
            return "Finish the shape first (Enter), then redo."
        step = self.undone.pop()
        self.done.append(step)
        self._restore(step, step.after)
        return f"Done again: {step.title}."

    @property
    def is_saved(self) -> bool:
        """Return whether nothing changed since the cells were opened or saved."""
        return self.n_changes == self.n_saved

    def mark_saved(self) -> None:
        """Mark the cells as saved in a file of the user's."""
        self.n_saved = self.n_changes
        self.changed.emit()

    def mark_unsaved(self) -> None:
        """Mark the cells as not saved in a file of the user's."""
        self.n_changes += 1
        self.changed.emit()

    def _is_drawing(self) -> bool:
        layer = self._layer()
        return (
            layer is None or layer.nshapes != len(self._shapes) or bool(getattr(layer, "_is_moving", False))
        )

    def _look(self) -> None:
        """Take over the present state; only redrawn shapes are read."""
        layer = self._layer()
        assert layer is not None
        known = self._shapes
        ids = layer.features["cell_id"].to_numpy()[: layer.nshapes]
        drawn = self._record.drawn
        fresh = [
            row
            for row, i in enumerate(ids)
            if i > 0 and (i not in known or known[i].drawn is not drawn.get(int(i)))
        ]
        read = _read_shapes(layer, fresh, drawn, ids) if fresh else {}
        self._shapes = {int(i): read[int(i)] if int(i) in read else known[int(i)] for i in ids if i > 0}
        self._rows = _rows_of(layer)
        record = self._record
        self._memory = RecordState(
            frozenset(record.redrawn),
            frozenset(record.removed),
            record.scores,
            record.bag,
            record.selection,
        )

    def _restore(self, step: EditStep, side: CellStates) -> None:
        """Put the touched cells back as they were on ``side``."""
        self.note_columns()
        layer, record = self._layer(), self._record
        assert layer is not None
        chosen = _ids(layer, layer.selected_data)
        self._busy = record.paused = True
        try:
            record.redrawn, record.removed = set(side.memory.redrawn), set(side.memory.removed)
            record.scores, record.bag = side.memory.scores, side.memory.bag
            record.selection = side.memory.selection
            changed = {i for i in step.touched if side.shapes.get(i) is not self._shapes.get(i)}
            _put_shapes(layer, record, side, changed)
            kept = [i for i in self._shapes if i not in changed]
            order = [*kept, *(i for i in side.shapes if i in changed)]
            table = _joined_rows(self._rows, side, order)
            write_features(layer, record, complete(table, layer.nshapes, record))
        finally:
            self._busy = record.paused = False
        self._look()
        by_hand = not step.slider and step.before.memory.scores is step.after.memory.scores
        wanted = set(side.shapes) if by_hand else chosen
        layer.selected_data = {row for row, i in enumerate(self._shapes) if i in wanted}
        layer.refresh()
        self.n_changes += 1
        self.changed.emit()


def _rows_of(layer: Shapes) -> pd.DataFrame:
    """Return the features of the finished shapes by their ``cell_id``."""
    rows = layer.features.iloc[: layer.nshapes]
    ids = rows["cell_id"].to_numpy()
    return rows[ids > 0].set_index(pd.Index(ids[ids > 0]))


def keep(layer: Shapes) -> None:
    """Keep the rows of a cell layer in order from now on, record its changes, and listen to undo keys."""
    record = record_of(layer)
    assert record is not None
    watch(layer)
    for row, cell_id in enumerate(layer.features["cell_id"].iloc[: layer.nshapes]):
        if int(cell_id) not in record.drawn:
            record.drawn[int(cell_id)] = outline_of(layer, row)
    record.journal = Journal(layer, record)
    for key, act in ((UNDO_KEY, _undo), *((key, _redo) for key in REDO_KEYS)):
        layer.bind_key(key, act, overwrite=True)


def _undo(layer: Shapes) -> None:
    """Undo the last change of the cells."""
    journal = journal_of(layer)
    if journal is not None:
        show_info(journal.undo())


def _redo(layer: Shapes) -> None:
    """Do the last undone change of the cells again."""
    journal = journal_of(layer)
    if journal is not None:
        show_info(journal.redo())


def journal_of(layer: Any) -> Journal | None:  # noqa: ANN401
    """Return the journal of a cell layer; None for any other layer."""
    record = record_of(layer)
    return record.journal if record is not None and isinstance(record.journal, Journal) else None


def _read_shapes(
    layer: Shapes, rows: list[int], drawn: dict[int, NDArray[np.float64]], ids: NDArray[np.int64]
) -> dict[int, ShapeState]:
    data, kinds, widths = layer.data, layer.shape_type, layer.edge_width
    return {
        int(ids[row]): ShapeState(
            np.array(data[row], float), str(kinds[row]), float(widths[row]), drawn[int(ids[row])]
        )
        for row in rows
    }


def _put_shapes(layer: Shapes, record: CellRecord, side: CellStates, changed: set[int]) -> None:
    """Replace the shapes of the ``changed`` cells by those of ``side``; the new ones come last."""
    ids = layer.features["cell_id"].to_numpy()
    come = [i for i in side.shapes if i in changed]
    record.drawn.update({i: side.shapes[i].drawn for i in come})
    with fastest_triangulation():
        layer.remove([int(row) for row in np.flatnonzero(np.isin(ids, list(changed)))])
        if come:
            states = [side.shapes[i] for i in come]
            layer.add(
                [state.data for state in states],
                shape_type=[state.kind for state in states],
                edge_width=[state.width for state in states],
                edge_color=np.tile(UNSCORED_RGBA, (len(states), 1)),
                face_color=np.zeros((len(states), 4)),
            )


def _joined_rows(rows: pd.DataFrame, side: CellStates, order: list[int]) -> pd.DataFrame:
    """Return the rows of ``order``: those of ``side`` where it has them, with its columns.

    Columns of other plugins stay as they are; a cell that comes back has those that it had.
    """
    foreign, own = foreign_names(rows.columns), _own(side.rows).astype(object)
    kept = rows[~rows.index.isin(own.index)].reindex(columns=own.columns).astype(object)
    back = side.rows[~side.rows.index.isin(rows.index)].reindex(columns=foreign).astype(object)
    written = pd.concat([rows[foreign].astype(object), back])
    table = pd.concat([kept, own]).join(written).loc[order].reset_index(drop=True).infer_objects()
    for name in foreign:
        with suppress(ValueError, TypeError):  # a whole number cannot be blank
            table[name] = table[name].astype(rows[name].dtype)
    return table


def _own(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of this program."""
    return rows.drop(columns=foreign_names(rows.columns))


def _ids(layer: Shapes, rows: Any) -> set[int]:  # noqa: ANN401
    ids = layer.features["cell_id"].to_numpy()
    return {int(ids[row]) for row in rows if row < len(ids)}
