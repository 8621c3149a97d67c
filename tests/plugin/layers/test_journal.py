from __future__ import annotations

import copy
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.layers.shapes import _shapes_mouse_bindings as mouse

from napari_amil.core.base.settings import SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers import rows as _rows
from napari_amil.plugin.layers.colour_scale import default_scale
from napari_amil.plugin.layers.journal import REDO_KEYS, STEPS, UNDO_KEY, Journal, journal_of

Draw = Callable[..., None]
BOX = np.array([[5.0, 5.0], [5.0, 15.0], [20.0, 15.0], [20.0, 5.0]])


def _state(layer: Shapes) -> tuple[pd.DataFrame, list[Any], tuple[Any, ...]]:
    """Return rows and shapes in the order of their ids, and what the record remembers."""
    record = _layers.need_record(layer)
    table = layer.features.sort_values("cell_id")
    order = table.index.tolist()
    shapes = [(str(layer.shape_type[row]), np.array(layer.data[row])) for row in order]
    memory = (set(record.redrawn), set(record.removed), record.bag, record.scores, record.selection)
    return table.reset_index(drop=True), shapes, memory


def _assert_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    pd.testing.assert_frame_equal(one[0], other[0])
    assert len(one[1]) == len(other[1])
    for (kind, data), (other_kind, other_data) in zip(one[1], other[1], strict=True):
        assert kind == other_kind
        np.testing.assert_array_equal(data, other_data)
    assert one[2][:3] == other[2][:3]
    assert one[2][3] is other[2][3]
    assert one[2][4] == other[2][4]


def _journal(layer: Shapes) -> Journal:
    journal = journal_of(layer)
    assert journal is not None
    return journal


def _drag(layer: Shapes, row: int, shift: tuple[float, float], n_moves: int = 5) -> None:
    """Drag a shape the way napari's mouse bindings do, in several movements."""
    layer.mode = "select"
    layer.scale_factor = 0.01  # as if zoomed in: the pointer is far from the handles
    start = np.asarray(layer.data[row]).mean(axis=0)
    event = SimpleNamespace(type="mouse_press", modifiers=[], position=layer.data_to_world(start))
    layer.selected_data = {row}
    gesture = mouse.select(layer, event)
    next(gesture)
    for number in range(1, n_moves + 1):
        event.type = "mouse_move"
        event.position = layer.data_to_world(start + np.array(shift) * number / n_moves)
        next(gesture)
    event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(gesture)


def _slide(layer: Shapes, cells: Cells, lowest: float) -> None:
    """Do what the Detect panel does when its first slider moves."""
    _layers.need_record(layer).selection = SelectionSettings(min_score=lowest)
    _layers.show_cells(layer, cells.take(cells.detection_score >= lowest))


def test_a_deletion_is_undone_and_done_again(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    _layers.need_record(layer).bag = {"predicted": "control"}
    before = _state(layer)
    layer.selected_data = {0, 2}
    layer.remove_selected()
    after = _state(layer)
    assert _layers.need_record(layer).removed == {1, 3}
    assert _journal(layer).undo() == "Undone: delete 2 cells."
    _assert_same(_state(layer), before)
    assert set(layer.features["cell_id"].iloc[list(layer.selected_data)]) == {1, 3}
    assert _journal(layer).redo() == "Done again: delete 2 cells."
    _assert_same(_state(layer), after)


def test_a_drag_is_one_step_and_gives_the_scores_back(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    before = _state(layer)
    n_steps = len(_journal(layer).done)
    _drag(layer, 0, (6.0, 4.0))
    assert layer.features["status"].iloc[0] == "edited"
    assert np.isnan(layer.features["anomaly"].iloc[0])
    assert len(_journal(layer).done) == n_steps + 1
    assert _journal(layer).undo() == "Undone: change the outline of 1 cell."
    _assert_same(_state(layer), before)
    assert _layers.need_record(layer).redrawn == set()


def test_nothing_is_undone_in_the_middle_of_a_drag(layer: Shapes) -> None:
    layer.remove([4])
    layer.mode = "select"
    layer.selected_data = {0}
    start = np.asarray(layer.data[0]).mean(axis=0)
    event = SimpleNamespace(type="mouse_press", modifiers=[], position=layer.data_to_world(start))
    gesture = mouse.select(layer, event)
    next(gesture)
    event.type, event.position = "mouse_move", layer.data_to_world(start + 3)
    next(gesture)
    assert _journal(layer).undo() == "Finish the shape first (Enter), then undo."
    assert layer.nshapes == 4


def test_scores_that_arrive_during_a_drag_do_not_cut_it_in_two(
    layer: Shapes, some_scores: pd.DataFrame
) -> None:
    start = np.array(layer.data[1])
    layer._data_view.shift(1, np.array([1.0, 1.0]))
    _layers.set_scores(layer, some_scores)
    layer._data_view.shift(1, np.array([1.0, 1.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(1,), vertex_indices=((),))
    _journal(layer).undo()
    row = layer.features["cell_id"].tolist().index(2)
    np.testing.assert_array_equal(layer.data[row], start)


def test_an_undone_drawing_never_lends_its_id(layer: Shapes, draw_by_hand: Draw) -> None:
    before = _state(layer)
    draw_by_hand(layer, BOX)
    _journal(layer).undo()
    _assert_same(_state(layer), before)
    draw_by_hand(layer, BOX)
    assert layer.features["cell_id"].iloc[-1] == 7
    assert _journal(layer).redo() == "There is nothing to redo."


def test_kinds_of_shapes_come_back(layer: Shapes) -> None:
    layer.add([BOX, BOX + 30], shape_type=["ellipse", "rectangle"])
    before = _state(layer)
    layer.remove([5, 6])
    _journal(layer).undo()
    _assert_same(_state(layer), before)
    assert [str(kind) for kind in layer.shape_type[-2:]] == ["ellipse", "rectangle"]


def test_a_scoring_is_one_step(layer: Shapes, some_scores: pd.DataFrame) -> None:
    before = _state(layer)
    _layers.set_scores(layer, some_scores)
    assert _journal(layer).undo() == "Undone: score 3 cells."
    _assert_same(_state(layer), before)
    assert "anomaly" not in layer.features
    _journal(layer).redo()
    assert layer.features.set_index("cell_id")["anomaly"].loc[[5, 1, 3]].tolist() == [9.0, 1.0, 4.0]


def test_colours_are_no_step(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    n_steps = len(_journal(layer).done)
    _layers.show_scale(layer, default_scale("anomaly_percentile", np.empty(0)))
    assert len(_journal(layer).done) == n_steps


def test_one_slider_is_one_step_however_far_it_goes(layer: Shapes, cells: Cells) -> None:
    _layers.need_record(layer).selection = SelectionSettings(min_score=0.0)
    _layers.show_cells(layer, cells)
    start = _state(layer)
    n_steps = len(_journal(layer).done)
    for lowest in (0.4, 0.8, 0.6):
        _slide(layer, cells, lowest)
    assert layer.nshapes == 3
    assert len(_journal(layer).done) == n_steps + 1
    _journal(layer).undo()
    _assert_same(_state(layer), start)
    _journal(layer).redo()
    assert sorted(layer.features["cell_id"]) == [1, 2, 3]


def test_a_hundred_steps_are_kept(layer: Shapes) -> None:
    for number in range(STEPS + 5):
        layer.features = layer.features.assign(cell_type=f"type {number}")
    journal = _journal(layer)
    assert len(journal.done) == STEPS
    for _ in range(3):
        journal.undo()
    assert layer.features["cell_type"].iloc[0] == f"type {STEPS + 1}"


def test_the_keys_of_undo_are_free_and_work(layer: Shapes) -> None:
    for key in (UNDO_KEY, *REDO_KEYS):
        assert key not in {str(taken) for taken in Shapes.class_keymap}
    layer.remove([0])
    keys = {str(key): act for key, act in layer.keymap.items()}
    keys["Ctrl+Z"](layer)
    assert layer.nshapes == 5
    keys["Ctrl+Shift+Z"](layer)
    assert layer.nshapes == 4


def test_a_vertex_taken_from_a_triangle_takes_the_right_row_along(image: Image) -> None:
    viewer = ViewerModel()
    drawn = Shapes([BOX, BOX[:3] + 40, BOX + 80], shape_type="polygon", ndim=2)
    _layers.adopt_layer(drawn, _rows.CellRecord("id", "smear.png", (), (160, 200)))
    viewer.add_layer(drawn)
    drawn.mode = "vertex_remove"
    drawn.selected_data = {1}
    drawn._value = (1, 0)
    event = SimpleNamespace(type="mouse_press", modifiers=[], position=drawn.data_to_world(BOX[0] + 40))
    drawn.get_value = lambda *_, **__: (1, 0)  # type: ignore[method-assign]
    mouse.vertex_remove(drawn, event)
    assert drawn.features["cell_id"].tolist() == [1, 3]
    assert drawn.features["status"].tolist() == ["unscored", "unscored"]
    _journal(drawn).undo()
    assert drawn.features["cell_id"].tolist() == [1, 3, 2]
    np.testing.assert_array_equal(drawn.data[2], BOX[:3] + 40)


def test_a_copied_record_has_no_journal_of_its_own(layer: Shapes) -> None:
    assert copy.deepcopy(_layers.need_record(layer)).journal is None


def _step(layer: Shapes, cells: Cells, draw: Draw, rng: random.Random) -> None:
    row = rng.randrange(layer.nshapes) if layer.nshapes else -1
    match rng.choice(["draw", "paste", "delete", "move", "slide", "score", "note", "undo", "redo"]):
        case "draw":
            draw(layer, BOX + rng.random() * 90)
        case "paste" if row >= 0:
            layer.selected_data = {row}
            layer._copy_data()
            layer._paste_data()
        case "delete" if row >= 0:
            layer.remove([row])
        case "move" if row >= 0:
            _drag(layer, row, (rng.uniform(-9, 9), rng.uniform(1, 9)), n_moves=2)
        case "slide":
            _slide(layer, cells, rng.randrange(10) / 10)
        case "score" if row >= 0:
            ids = layer.features["cell_id"].sample(frac=0.7, random_state=rng.randrange(2**31))
            _layers.set_scores(layer, pd.DataFrame({"cell_id": ids, "anomaly": ids * 1.5}))
        case "note":
            layer.features = layer.features.assign(cell_type=[rng.choice("ab") for _ in range(layer.nshapes)])
        case "undo":
            _journal(layer).undo()
        case "redo":
            _journal(layer).redo()


def test_two_hundred_random_steps_keep_every_row_and_can_all_be_undone(
    cells: Cells, image: Image, build_layer: Callable[..., Shapes], draw_by_hand: Draw
) -> None:
    rng = random.Random(1)
    layer = build_layer(cells, image)
    start, journal = _state(layer), _journal(layer)
    born: dict[int, np.ndarray] = {int(i): layer.data[row] for row, i in enumerate(cells.cell_id)}
    for _ in range(200):
        n_known = _layers.need_record(layer).next_id
        _step(layer, cells, draw_by_hand, rng)
        table = layer.features
        assert len(table) == layer.nshapes
        assert table["cell_id"].is_unique
        assert _layers.need_record(layer).next_id >= n_known
        for row, cell_id in enumerate(table["cell_id"]):
            if cell_id not in born:
                assert cell_id >= n_known  # an id of an undone cell is not lent to another
                born[cell_id] = layer.data[row]
            low = _rows.outline_of(layer, row).min(axis=0)
            np.testing.assert_allclose(low, table[["y0", "x0"]].iloc[row].to_numpy(float), atol=1e-4)
        anomaly = table.get("anomaly", pd.Series(dtype=float)).dropna()
        np.testing.assert_allclose(anomaly, table["cell_id"].loc[anomaly.index] * 1.5)
        if len(journal.done) == STEPS:
            journal.undo()  # so that the first step is never forgotten
    while journal.done:
        journal.undo()
    _assert_same(_state(layer), start)
    states = []
    for _ in range(15):
        journal.redo()
        states.append(_state(layer))
    for state in reversed(states):
        _assert_same(_state(layer), state)
        journal.undo()


def test_a_column_written_in_place_survives_deletion_and_undo(layer: Shapes) -> None:
    layer.features["cluster"] = layer.features["cell_id"].to_numpy() * 10  # without an event
    layer.selected_data = {1}
    layer.remove_selected()
    assert layer.features["cluster"].tolist() == (layer.features["cell_id"] * 10).tolist()
    layer.features["later"] = layer.features["cell_id"].to_numpy() * 7
    journal = journal_of(layer)
    assert journal is not None
    journal.undo()
    assert len(layer.features) == layer.nshapes
    assert layer.features["cluster"].tolist() == (layer.features["cell_id"] * 10).tolist()
    later = layer.features.set_index("cell_id")["later"].dropna()
    assert later.tolist() == [cell_id * 7 for cell_id in later.index]
    assert len(later) == layer.nshapes - 1
