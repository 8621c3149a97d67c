"""What another plugin writes into the features of the cells stays, each value with its cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.layers import Layer, Shapes

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers import readers as _readers
from napari_amil.plugin.layers import writers as _writers
from napari_amil.plugin.layers.cell_layer import need_record, set_scores, show_cells
from napari_amil.plugin.layers.edits import set_cell_type
from napari_amil.plugin.layers.journal import Journal, journal_of, keep

Write = Callable[[Shapes, dict[str, Any]], None]


def _in_place(layer: Shapes, columns: dict[str, Any]) -> None:
    for name, values in columns.items():
        layer.features[name] = values


def _by_event(layer: Shapes, columns: dict[str, Any]) -> None:
    layer.features = layer.features.assign(**columns)


def _columns(ids: np.ndarray) -> dict[str, Any]:
    """Columns of every kind, whose values tell the cell that they belong to."""
    return {
        "cluster": ids * 10,
        "intensity": ids / 7,
        "is_bright": ids % 2 == 0,
        "called": [f"cell {i}" for i in ids],
        "type": [f"kind {i}" for i in ids],
        "group": pd.Categorical([f"group {i % 2}" for i in ids]),
        "seen": pd.to_datetime(["2026-11-30"] * len(ids)) + pd.to_timedelta(ids, unit="D"),
        "count": pd.array(ids, dtype="Int64"),
    }


def _assert_kept(layer: Shapes, ids: list[int], *, as_text: bool = False) -> None:
    table = layer.features
    assert sorted(table["cell_id"]) == ids
    assert len(table) == layer.nshapes
    for name, values in _columns(table["cell_id"].to_numpy()).items():
        expected = pd.Series(values)
        if as_text and not isinstance(expected.dtype, np.dtype | pd.Int64Dtype):
            expected = expected.astype(str)
        if as_text and expected.dtype.kind == "M":
            expected = expected.astype(str).str.cat(["00:00:00"] * len(expected), sep=" ")
        assert table[name].tolist() == expected.tolist(), name


@pytest.fixture(params=[_in_place, _by_event])
def write(request: pytest.FixtureRequest) -> Write:
    return request.param


@pytest.fixture
def written(layer: Shapes, some_scores: pd.DataFrame, write: Write) -> Shapes:
    set_scores(layer, some_scores)
    write(layer, _columns(layer.features["cell_id"].to_numpy()))
    return layer


def _journal(layer: Shapes) -> Journal:
    journal = journal_of(layer)
    assert journal is not None
    return journal


def test_they_stay_after_deleting_undo_and_redo(written: Shapes) -> None:
    written.remove([1])
    _assert_kept(written, [1, 3, 4, 5])
    _journal(written).undo()
    _assert_kept(written, [1, 2, 3, 4, 5])
    _journal(written).redo()
    _assert_kept(written, [1, 3, 4, 5])


def test_undo_takes_back_a_scoring_and_not_what_was_written(written: Shapes, write: Write) -> None:
    """What was written is no step, and an older step does not bring older values back."""
    write(written, {"cluster": written.features["cell_id"] * 100})
    write(written, {"cluster": written.features["cell_id"] * 10})
    assert _journal(written).undo() == "Undone: score 3 cells."
    assert "anomaly" not in written.features
    _assert_kept(written, [1, 2, 3, 4, 5])


def test_they_stay_after_filtering_and_scoring_again(
    written: Shapes, cells: Cells, some_scores: pd.DataFrame
) -> None:
    set_cell_type(written, [3], "target cell")
    known = need_record(written).known
    show_cells(written, known.take(np.array([True, False, True, False, True])))
    _assert_kept(written, [1, 3, 5])
    set_scores(written, some_scores.assign(anomaly=1.0))
    show_cells(written, known)
    _assert_kept(written, [1, 2, 3, 4, 5])
    named = written.features.set_index("cell_id")["cell_type"]
    assert named.to_dict() == {1: "", 2: "", 3: "", 4: "target cell", 5: ""}


def test_they_are_saved_and_read_again_also_of_cells_that_are_filtered_out(
    written: Shapes, tmp_path: Path
) -> None:
    known = need_record(written).known
    show_cells(written, known.take(np.array([True, False, True, True, True])))
    path = str(tmp_path / "cells.geojson")
    _writers.write_cells(path, *written.as_layer_data_tuple()[:2])
    again = Layer.create(*_readers.read(path)[0])
    keep(again)
    _assert_kept(again, [1, 3, 4, 5], as_text=True)
    show_cells(again, need_record(again).known)
    _assert_kept(again, [1, 2, 3, 4, 5], as_text=True)


def test_they_are_in_a_table_and_read_from_it(written: Shapes, tmp_path: Path) -> None:
    path = str(tmp_path / "cells.csv")
    _writers.write_table(path, *written.as_layer_data_tuple()[:2])
    again = Layer.create(*_readers.read(path)[0])
    expected = written.features["called"].tolist(), written.features["cluster"].tolist()
    assert (again.features["called"].tolist(), again.features["cluster"].tolist()) == expected


def test_cells_that_another_plugin_wrote_of_are_not_replaced_by_a_detection(written: Shapes) -> None:
    assert need_record(written).is_worked_on(written.features)
    untouched = written.features.drop(columns=list(_columns(np.arange(5))))
    assert not need_record(written).is_worked_on(untouched)
    assert need_record(written).is_worked_on(untouched.assign(cell_type=["", "echinocyte", "", "", ""]))
