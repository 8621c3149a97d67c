from __future__ import annotations

import numpy as np
import pandas as pd
from napari.layers import Shapes

from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers import edits as _edits
from napari_amil.plugin.layers.journal import journal_of

BOX = np.array([[5.0, 5.0], [5.0, 15.0], [20.0, 15.0], [20.0, 5.0]])


def test_a_type_is_written_to_the_chosen_cells_in_one_step(layer: Shapes) -> None:
    before = layer.features.copy()
    _edits.set_cell_type(layer, [1, 3], " sickle cell ")
    assert layer.features["cell_type"].tolist() == ["", "sickle cell", "", "sickle cell", ""]
    assert layer.features["status"].tolist() == ["unscored"] * 5
    assert journal_of(layer).undo() == "Undone: name the type of 2 cells."
    pd.testing.assert_frame_equal(layer.features, before)


def test_a_drawn_cell_has_no_type_of_another(layer: Shapes) -> None:
    _edits.set_cell_type(layer, range(5), "sickle cell")
    layer.selected_data = {0}
    layer._copy_data()
    layer._paste_data()
    layer.add(BOX, shape_type="rectangle")
    assert layer.features["cell_type"].tolist() == ["sickle cell"] * 5 + ["", ""]


def test_a_cell_that_is_left_out_loses_its_scores_and_gets_them_back(
    layer: Shapes, some_scores: pd.DataFrame
) -> None:
    _layers.set_scores(layer, some_scores)
    record = _layers.need_record(layer)
    record.bag = {"predicted": "control"}
    before = layer.features.copy()
    _edits.set_excluded(layer, [0, 1], True)
    assert layer.features["status"].tolist() == ["excluded", "excluded", "scored", "unscored", "scored"]
    assert np.isnan(layer.features["anomaly"].iloc[0])
    assert record.bag is None
    assert _layers.cells_of(layer).cell_id.tolist() == [3, 4, 5]
    _edits.set_excluded(layer, [0, 1], False)
    pd.testing.assert_frame_equal(layer.features, before)
    journal_of(layer).undo()
    assert journal_of(layer).undo() == "Undone: leave out 2 cells."
    assert record.bag == {"predicted": "control"}
    pd.testing.assert_frame_equal(layer.features, before)


def test_a_changed_cell_that_comes_back_has_no_old_scores(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    layer._data_view.shift(0, np.array([3.0, 4.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(0,), vertex_indices=((),))
    _edits.set_excluded(layer, [0], True)
    _edits.set_excluded(layer, [0], False)
    assert layer.features["status"].iloc[0] == "edited"
    assert np.isnan(layer.features["anomaly"].iloc[0])


def test_the_key_leaves_out_and_takes_back(layer: Shapes) -> None:
    layer.selected_data = {2}
    _edits.toggle_excluded(layer)
    assert layer.features["status"].iloc[2] == "excluded"
    layer.selected_data = {2, 3}
    _edits.toggle_excluded(layer)
    assert layer.features["status"].iloc[[2, 3]].tolist() == ["excluded", "excluded"]
    _edits.toggle_excluded(layer)
    assert layer.features["status"].iloc[[2, 3]].tolist() == ["unscored", "unscored"]


def test_the_least_certain_cell_comes_first_and_each_only_once(layer: Shapes) -> None:
    seen: set[int] = set()
    for expected in (5, 4, 3):
        row = _edits.next_unsure(layer, "found", seen)
        seen.add(int(layer.features["cell_id"].iloc[row]))
        assert expected in seen
    _edits.set_cell_type(layer, [1], "round")
    assert _edits.next_unsure(layer, "found", seen) == 0
    assert _edits.next_unsure(layer, "found", {*seen, 1}) is None


def test_the_cell_nearest_to_the_limit_is_the_most_unsure(layer: Shapes) -> None:
    scores = pd.DataFrame({"cell_id": [1, 2, 3], "anomaly": 1.0, "anomaly_q": [0.9, 0.001, 0.06]})
    _layers.set_scores(layer, scores)
    assert _edits.next_unsure(layer, "unusual", set()) == 2
    assert _edits.next_unsure(layer, "changed", set()) == 3
    _edits.set_excluded(layer, [2], True)
    assert _edits.next_unsure(layer, "unusual", set()) == 0


def test_types_on_offer_are_the_classes_and_those_given(layer: Shapes) -> None:
    _layers.need_record(layer).bag = {"probability": {"control": 0.5, "sickle": 0.5}}
    _edits.set_cell_type(layer, [0], "burr cell")
    _layers.need_record(layer).bag = {"probability": {"control": 0.5, "sickle": 0.5}}
    assert _edits.known_types([layer]) == ["control", "sickle", "burr cell"]
