from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.layers import Image, Shapes

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers import rows as _rows
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA, default_scale

Draw = Callable[[Shapes, np.ndarray], None]
BOX = np.array([[5.0, 5.0], [5.0, 15.0], [20.0, 15.0], [20.0, 5.0]])


def _last(layer: Shapes) -> dict[str, object]:
    return layer.features.iloc[-1].to_dict()


def _check(layer: Shapes) -> None:
    """Every shape has its own row, id, finite visible colour, and the box that is drawn."""
    table, record = layer.features, _layers.need_record(layer)
    assert len(table) == layer.nshapes
    assert table["cell_id"].is_unique
    assert (table["cell_id"] > 0).all()
    assert (table["cell_id"] < record.next_id).all()
    assert layer.feature_defaults["cell_id"].item() == 0
    assert layer.feature_defaults["status"].item() == "unscored"
    if layer.nshapes:
        assert (layer.edge_color[:, 3] == 1).all()
    for row, (_, values) in enumerate(table.iterrows()):
        drawn = _rows.outline_of(layer, row)
        np.testing.assert_allclose(drawn.min(axis=0), values[["y0", "x0"]].to_numpy(float), atol=1e-4)
        np.testing.assert_allclose(drawn.max(axis=0), values[["y1", "x1"]].to_numpy(float), atol=1e-4)
        known = np.isfinite(values.get("anomaly", np.nan))
        assert known == (values["status"] == "scored")


def test_a_drawn_cell_copies_nothing_from_the_last_one(
    layer: Shapes, draw_by_hand: Draw, some_scores: pd.DataFrame
) -> None:
    _layers.set_scores(layer, some_scores)
    draw_by_hand(layer, BOX)
    drawn = _last(layer)
    assert drawn["cell_id"] == 6
    assert drawn["status"] == "unscored"
    assert np.isnan([drawn["anomaly"], drawn["anomaly_percentile"], drawn["detection_score"]]).all()
    assert (drawn["y0"], drawn["x0"], drawn["y1"], drawn["x1"]) == (5.5, 5.5, 20.5, 15.5)
    assert drawn["area_px"] == 150.0
    assert drawn["image"] == "smear.png"
    _check(layer)


def test_a_drawn_cell_is_grey_and_seen_even_after_a_coloured_one_was_selected(
    layer: Shapes, draw_by_hand: Draw, some_scores: pd.DataFrame
) -> None:
    _layers.set_scores(layer, some_scores)
    _layers.show_scale(layer, default_scale("anomaly_percentile", np.empty(0)))
    layer.selected_data = {4}
    draw_by_hand(layer, BOX)
    np.testing.assert_allclose(layer.edge_color[-1], UNSCORED_RGBA, atol=1e-6)


def test_a_pasted_cell_gets_its_own_id_and_no_scores(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    layer.selected_data = {0, 4}
    layer._copy_data()
    layer._paste_data()
    pasted = layer.features.iloc[-2:]
    assert pasted["cell_id"].tolist() == [6, 7]
    assert pasted["anomaly"].isna().all()
    assert pasted["status"].tolist() == ["unscored", "unscored"]
    assert layer.features["anomaly"].iloc[[0, 4]].tolist() == [1.0, 9.0]
    _check(layer)


def test_an_unfinished_polygon_leaves_no_row_behind(layer: Shapes) -> None:
    layer.mode = "add_polygon"
    layer.add(BOX[:3], shape_type="path", gui=True)
    layer._moving_value = layer._value = (layer.nshapes - 1, 2)
    layer._is_creating = True
    layer._finish_drawing()
    assert layer.nshapes == 5
    assert layer.features["cell_id"].tolist() == [1, 2, 3, 4, 5]


def test_an_id_is_never_given_twice(layer: Shapes, draw_by_hand: Draw) -> None:
    draw_by_hand(layer, BOX)
    layer.remove([5])
    draw_by_hand(layer, BOX)
    assert _last(layer)["cell_id"] == 7
    assert _layers.need_record(layer).removed == {6}


def test_a_moved_cell_is_edited_and_loses_its_scores(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    layer._data_view.shift(0, np.array([3.0, 4.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(0,), vertex_indices=((),))
    assert layer.features["status"].tolist() == ["edited", "unscored", "scored", "unscored", "scored"]
    assert np.isnan(layer.features["anomaly"].iloc[0])
    _check(layer)


def test_a_click_that_moves_nothing_changes_nothing(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    before = layer.features.copy()
    layer.events.data(value=layer.data, action="changed", data_indices=(0, 1), vertex_indices=((),))
    pd.testing.assert_frame_equal(layer.features, before)


def test_replaced_data_get_their_boxes_and_status_again(layer: Shapes) -> None:
    layer.data = [shape + 10 for shape in layer.data[:3]]
    assert layer.features["cell_id"].tolist() == [1, 2, 3]
    assert layer.features["status"].tolist() == ["edited"] * 3
    _check(layer)


def test_defaults_stay_blank_when_another_program_sets_the_features(layer: Shapes) -> None:
    layer.features = layer.features.assign(anomaly=2.0, status="scored")
    assert layer.feature_defaults["cell_id"].item() == 0
    assert np.isnan(layer.feature_defaults["anomaly"].item())


def test_features_without_ids_get_ids_that_were_never_used(layer: Shapes) -> None:
    layer.features = pd.DataFrame({"note": list("abcde")})
    assert layer.features["cell_id"].tolist() == [6, 7, 8, 9, 10]
    assert layer.features["note"].tolist() == list("abcde")


def test_a_duplicated_layer_has_a_record_of_its_own(layer: Shapes, draw_by_hand: Draw) -> None:
    twin = copy.deepcopy(_layers.need_record(layer))
    draw_by_hand(layer, BOX)
    assert twin.next_id == 6
    assert twin.present == {1, 2, 3, 4, 5}


def test_an_ellipse_becomes_a_polygon_of_its_area(layer: Shapes) -> None:
    layer.add(BOX, shape_type="ellipse")
    assert _last(layer)["area_px"] == pytest.approx(np.pi * 7.5 * 5, rel=0.01)
    assert len(_rows.outline_of(layer, 5)) == 48


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["draw", "paste", "delete", "move", "slide", "score", "features"]),
        st.integers(0, 10**6),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_rows_keep_their_identity_through_any_sequence(
    operations: list[tuple[str, int]],
    cells: Cells,
    image: Image,
    build_layer: Callable[..., Shapes],
    draw_by_hand: Draw,
) -> None:
    layer = build_layer(cells, image)
    outline_of_id = {int(i): _rows.outline_of(layer, row) for row, i in enumerate(cells.cell_id)}
    deleted: set[int] = set()
    for name, number in operations:
        row = number % layer.nshapes if layer.nshapes else 0
        before = set(layer.features["cell_id"])
        if name == "draw":
            draw_by_hand(layer, BOX + number % 100)
        elif name == "paste" and layer.nshapes:
            layer.selected_data = {row}
            layer._copy_data()
            layer._paste_data()
        elif name == "delete" and layer.nshapes:
            deleted.add(int(layer.features["cell_id"].iloc[row]))
            layer.remove([row])
        elif name == "move" and layer.nshapes:
            layer._data_view.shift(row, np.array([1.0, 2.0]))
            layer.events.data(value=layer.data, action="changed", data_indices=(row,), vertex_indices=((),))
            outline_of_id[int(layer.features["cell_id"].iloc[row])] += (1.0, 2.0)
        elif name == "slide":
            _layers.show_cells(layer, cells.take(cells.detection_score >= (number % 10) / 10))
        elif name == "score" and layer.nshapes:
            ids = layer.features["cell_id"].sample(frac=1, random_state=number % 2**31)
            scores = pd.DataFrame({"cell_id": ids, "anomaly": ids * 1.5, "anomaly_percentile": 50.0})
            _layers.set_scores(layer, scores)
            _layers.show_scale(layer, default_scale("anomaly", scores["anomaly"].to_numpy()))
        elif name == "features":
            layer.features = layer.features
        _check(layer)
        for place, cell_id in enumerate(layer.features["cell_id"]):
            drawn = _rows.outline_of(layer, place)
            if cell_id not in outline_of_id:
                assert cell_id not in before
                outline_of_id[cell_id] = drawn
            np.testing.assert_allclose(drawn, outline_of_id[cell_id], atol=1e-4)
        assert not deleted & set(layer.features["cell_id"])
        anomaly = layer.features.get("anomaly", pd.Series(dtype=float)).dropna()
        np.testing.assert_allclose(anomaly, layer.features["cell_id"].loc[anomaly.index] * 1.5)
