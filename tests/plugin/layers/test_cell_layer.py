from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Shapes
from napari.utils.triangulation_backend import TriangulationBackend, get_backend, set_backend

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers.colour_scale import ColourScale, default_scale
from napari_amil.plugin.layers.fast_shapes import paint, simplified
from napari_amil.plugin.layers.rows import RECORD, CellRecord

Build = Callable[..., Shapes]
COLUMNS = [
    "image",
    "cell_id",
    "y0",
    "x0",
    "y1",
    "x1",
    "detection_score",
    "area_px",
    "touches_border",
    "overlaps",
]


def test_the_features_have_the_columns_of_the_tables(layer: Shapes, some_scores: pd.DataFrame) -> None:
    assert layer.features.columns.tolist() == [*COLUMNS, "status"]
    _layers.set_scores(layer, some_scores)
    assert layer.features.columns.tolist() == [*COLUMNS, "anomaly", "anomaly_percentile", "status"]
    assert layer.features.dtypes["cell_id"] == np.int64
    assert layer.features.dtypes["anomaly"] == np.float64


def test_many_scores_come_as_one_change_of_the_features(layer: Shapes) -> None:
    changes: list[object] = []
    layer.events.features.connect(changes.append)
    many = {f"morph_{number}": np.arange(5) + 0.1 * number for number in range(70)}
    _layers.set_scores(layer, pd.DataFrame({"cell_id": [5, 4, 3, 2, 1], "anomaly": 1.0, **many}))
    assert len(changes) == 1
    assert layer.features.loc[0, ["cell_id", "morph_0", "morph_69"]].tolist() == [1, 4.0, 4 + 6.9]
    assert layer.features["morph_69"].dtype == np.float64


def test_boxes_and_outlines_are_those_of_the_cells(layer: Shapes, cells: Cells) -> None:
    np.testing.assert_allclose(layer.features[["y0", "x0", "y1", "x1"]], cells.boxes, rtol=1e-6)
    np.testing.assert_allclose(layer.data[2] + 0.5, cells.outlines[2], atol=1e-4)


def test_the_layer_lies_on_its_image(layer: Shapes, image: Image) -> None:
    np.testing.assert_allclose(layer.scale, (0.5, 0.25))
    np.testing.assert_allclose(layer.translate, (7, -3))
    np.testing.assert_allclose(layer.data_to_world((10, 20)), image.data_to_world((10, 20)))


def test_a_turned_and_sheared_image_carries_its_cells_along(
    field: np.ndarray, cells: Cells, build_layer: Build
) -> None:
    image = Image(
        field, rgb=True, rotate=30, shear=[0.2], scale=(2, 3), affine=[[1, 0.1, 5], [0, 1, 6], [0, 0, 1]]
    )
    layer = build_layer(cells, image)
    np.testing.assert_allclose(layer.data_to_world((10, 20)), image.data_to_world((10, 20)))


def test_cells_of_a_stack_lie_on_their_plane(field: np.ndarray, cells: Cells, build_layer: Build) -> None:
    image = Image(np.stack([field[..., 0]] * 3), rgb=False, scale=(4, 1, 1))
    layer = build_layer(cells, image, (2,))
    assert layer.ndim == 3
    assert set(layer.data[0][:, 0]) == {2.0}
    np.testing.assert_allclose(_layers.cells_of(layer).boxes, cells.boxes)


def test_no_cell_makes_an_empty_layer_that_can_be_drawn_on(image: Image, build_layer: Build) -> None:
    layer = build_layer(Cells(np.empty((0, 4))), image)
    assert layer.nshapes == 0
    layer.add(np.array([[5.0, 5], [5, 15], [20, 15], [20, 5]]), shape_type="rectangle")
    assert layer.features["cell_id"].tolist() == [1]
    assert len(_layers.cells_of(layer)) == 1


def test_cells_come_back_exactly_whatever_is_drawn(cells: Cells, image: Image, build_layer: Build) -> None:
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    fine = np.stack([60 + 20 * np.sin(turn), 60 + 20 * np.cos(turn)], axis=1).astype(np.float32)
    cell = Cells(np.array([[40, 40, 80, 80]]), (fine,), detection_score=[0.7], cell_id=[42])
    layer = build_layer(cell, image)
    assert len(layer.data[0]) < 60
    again = _layers.cells_of(layer)
    np.testing.assert_array_equal(again.outlines[0], fine)
    np.testing.assert_array_equal(again.boxes, cell.boxes)
    assert again.cell_id.tolist() == [42]
    assert again.detection_score.tolist() == [np.float32(0.7)]


def test_a_simplified_outline_stays_within_its_tolerance() -> None:
    turn = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    circle = np.stack([50 * np.sin(turn), 50 * np.cos(turn)], axis=1)
    simple = simplified([circle], 0.5)[0]
    middles = (simple + np.roll(simple, 1, axis=0)) / 2
    assert len(simple) < 60
    assert np.hypot(*middles.T).min() > 49.4


def test_an_edited_cell_keeps_its_new_outline_when_it_is_scored_again(
    layer: Shapes, some_scores: pd.DataFrame
) -> None:
    layer._data_view.shift(0, np.array([5.0, 0.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(0,), vertex_indices=((),))
    _layers.set_scores(layer, some_scores)
    assert layer.features["status"].iloc[0] == "scored"
    np.testing.assert_allclose(_layers.cells_of(layer).boxes[0, 0], layer.features["y0"].iloc[0], rtol=1e-6)


def test_hand_drawn_cells_are_clipped_and_slivers_left_out(layer: Shapes) -> None:
    layer.add(np.array([[-20.0, -20], [-20, 30], [10, 30], [10, -20]]), shape_type="rectangle")
    layer.add(np.array([[3.0, 3], [3, 90]]), shape_type="line")
    layer.add(np.array([[900.0, 900], [900, 930], [930, 930], [930, 900]]), shape_type="rectangle")
    cells = _layers.cells_of(layer)
    assert cells.cell_id.tolist() == [1, 2, 3, 4, 5, 6]
    assert cells.boxes[-1].tolist() == [0, 0, 10.5, 30.5]


def test_excluded_cells_are_not_scored(layer: Shapes) -> None:
    layer.features = layer.features.assign(status=["excluded", *["unscored"] * 4])
    assert _layers.cells_of(layer).cell_id.tolist() == [2, 3, 4, 5]


def test_scores_find_their_cell_by_id(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    np.testing.assert_array_equal(layer.features["anomaly"], [1, np.nan, 4, np.nan, 9])
    assert layer.features["status"].tolist() == ["scored", "unscored", "scored", "unscored", "scored"]


def test_second_scores_replace_the_first(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    _layers.set_scores(layer, pd.DataFrame({"cell_id": [2], "anomaly": [7.0]}))
    np.testing.assert_array_equal(layer.features["anomaly"], [np.nan, 7, np.nan, np.nan, np.nan])
    assert "anomaly_percentile" not in layer.features


def test_a_slider_moves_cells_out_and_back_with_their_scores(
    layer: Shapes, cells: Cells, some_scores: pd.DataFrame
) -> None:
    _layers.set_scores(layer, some_scores)
    _layers.show_cells(layer, cells.take([0, 2]))
    assert layer.features["cell_id"].tolist() == [1, 3]
    _layers.show_cells(layer, cells)
    table = layer.features.set_index("cell_id").loc[[1, 2, 3, 4, 5]]
    np.testing.assert_array_equal(table["anomaly"], [1, np.nan, 4, np.nan, 9])
    assert layer.nshapes == 5


def test_a_slider_leaves_work_done_by_hand_alone(layer: Shapes, cells: Cells) -> None:
    layer.add(np.array([[5.0, 5], [5, 15], [20, 15], [20, 5]]), shape_type="rectangle")
    layer.remove([0])
    layer._data_view.shift(0, np.array([5.0, 0.0]))
    layer.events.data(value=layer.data, action="changed", data_indices=(0,), vertex_indices=((),))
    _layers.show_cells(layer, cells.take([0]))
    assert sorted(layer.features["cell_id"]) == [2, 6]
    _layers.show_cells(layer, cells)
    assert sorted(layer.features["cell_id"]) == [2, 3, 4, 5, 6]


def test_a_slider_keeps_overlap_flags_up_to_date(layer: Shapes, cells: Cells) -> None:
    flags = np.array([True, True, False, False, False])
    _layers.show_cells(layer, Cells(cells.boxes, cells.outlines, cells.detection_score, overlaps=flags))
    assert layer.features["overlaps"].tolist() == flags.tolist()


def test_a_verdict_falls_when_the_cells_change(layer: Shapes, cells: Cells) -> None:
    record = _layers.need_record(layer)
    record.bag = {"predicted": "control"}
    _layers.show_cells(layer, cells)
    assert record.bag is not None
    _layers.show_cells(layer, cells.take([0]))
    assert record.bag is None


def test_no_cell_is_ever_invisible(layer: Shapes, some_scores: pd.DataFrame) -> None:
    _layers.set_scores(layer, some_scores)
    for column in ("anomaly", "anomaly_percentile", "missing"):
        _layers.show_scale(layer, ColourScale(column, 0, 10, "plasma"))
        assert (layer.edge_color[:, 3] == 1).all()
    _layers.show_scale(layer, default_scale("anomaly_percentile", np.empty(0)))
    assert len(np.unique(layer.edge_color[[1, 3]], axis=0)) == 1
    assert len(np.unique(layer.edge_color, axis=0)) == 4


def test_one_colour_means_one_value_in_two_images(cells: Cells, image: Image, build_layer: Build) -> None:
    scale = ColourScale("anomaly", 0, 10, "viridis")
    first, second = build_layer(cells, image), build_layer(cells.take([1, 3]), image)
    _layers.set_scores(first, pd.DataFrame({"cell_id": [1, 2], "anomaly": [4.0, 9.0]}))
    _layers.set_scores(second, pd.DataFrame({"cell_id": [2, 4], "anomaly": [4.0, 1.0]}))
    for layer in (first, second):
        _layers.show_scale(layer, scale)
    np.testing.assert_array_equal(first.edge_color[0], second.edge_color[0])


def test_shapes_of_the_user_become_cells(image: Image) -> None:
    drawn = Shapes([np.array([[5.0, 5], [5, 15], [20, 15], [20, 5]])], shape_type="rectangle")
    _layers.adopt_layer(drawn, CellRecord("id", "smear.png", (), (160, 200)))
    assert drawn.features["cell_id"].tolist() == [1]
    assert drawn.features["area_px"].tolist() == [150.0]
    assert len(_layers.cells_of(drawn)) == 1


def test_the_users_triangulation_is_only_replaced_while_building(
    cells: Cells, image: Image, build_layer: Build
) -> None:
    before = set_backend(TriangulationBackend.pure_python)
    try:
        build_layer(cells, image)
        assert get_backend() == TriangulationBackend.pure_python
        window, thread = _layers.fastest_triangulation(), _layers.fastest_triangulation()
        for enter_or_leave in (window.__enter__, thread.__enter__, lambda: window.__exit__(None, None, None)):
            enter_or_leave()
            assert get_backend() == TriangulationBackend.fastest_available
        thread.__exit__(None, None, None)
        assert get_backend() == TriangulationBackend.pure_python
    finally:
        set_backend(before)


def test_other_layers_hold_no_cells(image: Image) -> None:
    plain = Shapes(metadata={RECORD: "not a record"})
    assert _layers.cell_layers([image, plain]) == []
    with pytest.raises(ValueError, match="holds no cells"):
        _layers.cells_of(plain)


def test_colours_painted_at_once_are_those_that_napari_paints(layer: Shapes) -> None:
    """Every triangle, and so every pixel, and one piece of news to the graphics card instead of four."""
    layer.add([np.array([[5.0, 5], [5, 15], [20, 15]])], shape_type="path")
    rng = np.random.default_rng(0)
    edges, faces = rng.uniform(size=(2, layer.nshapes, 4))
    twin = Shapes(layer.data, shape_type=layer.shape_type, edge_color=edges, face_color=faces)
    told: list[object] = []
    layer.events.edge_color.connect(told.append)
    paint(layer, edges, faces)
    paint(layer, edges, faces)
    assert len(told) == 1
    for name in ("triangles_colors", "displayed_triangles_colors"):
        ours, theirs = (getattr(one._data_view._mesh, name) for one in (layer, twin))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(layer.edge_color, twin.edge_color, atol=1e-6)
    np.testing.assert_allclose(layer.face_color, twin.face_color, atol=1e-6)
