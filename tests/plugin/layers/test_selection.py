"""One selection for all views: shapes, keys and camera stay in step."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers.selection import (
    BAG,
    CellKey,
    CellSelection,
    KeyRows,
    find_cell,
    fly_to,
    keys_of,
    rows_of,
    selection_of,
)


@pytest.fixture
def shown(viewer: ViewerModel, image: Image, layer: Shapes, qtbot: QtBot) -> ViewerModel:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    return viewer


def test_shapes_selected_by_hand_are_chosen_and_back(shown: ViewerModel, layer: Shapes) -> None:
    selection = selection_of(shown)
    assert selection_of(shown) is selection
    heard: list[object] = []
    selection.changed.connect(heard.append)
    layer.selected_data = {1, 3}
    assert selection.keys == {CellKey("smear.png", 2), CellKey("smear.png", 4)}
    assert heard == [selection.keys]
    selection.choose([CellKey("smear.png", 5), CellKey("another.png", 7)], CellKey("smear.png", 5))
    assert set(layer.selected_data) == {4}
    assert selection.current == CellKey("smear.png", 5)
    assert selection.keys == {CellKey("smear.png", 5), CellKey("another.png", 7)}
    layer.selected_data = {0}
    assert selection.current == CellKey("smear.png", 1)
    layer.selected_data = set()
    assert selection.current is None
    assert not selection.keys


def test_the_current_cell_stays_while_it_is_chosen(shown: ViewerModel, layer: Shapes) -> None:
    selection = CellSelection(shown)
    layer.selected_data = {2}
    layer.selected_data.add(4)
    assert selection.current == CellKey("smear.png", 3)


def test_layers_that_come_later_are_heard(
    viewer: ViewerModel, image: Image, cells: Cells, build_layer: Callable[..., Shapes], qtbot: QtBot
) -> None:
    selection = CellSelection(viewer)
    viewer.add_layer(image)
    viewer.add_layer(build_layer(cells, image))
    viewer.layers[-1].selected_data = {0}
    assert selection.keys == {CellKey("smear.png", 1)}
    viewer.add_shapes([np.array([[0, 0], [5, 5]])], shape_type="rectangle").selected_data = {0}
    assert selection.keys == {CellKey("smear.png", 1)}


def test_a_selection_goes_with_its_viewer(qtbot: QtBot) -> None:
    viewer = ViewerModel()
    selection_of(viewer)
    key = id(viewer)
    del viewer
    gc.collect()
    assert key not in selection_of


def test_a_cell_is_found_and_flown_to(shown: ViewerModel, layer: Shapes) -> None:
    key = keys_of(layer, [3])[0]
    assert rows_of(layer, [key, CellKey("other.png", 1)]) == [3]
    assert find_cell(shown, key) == (layer, 3)
    assert find_cell(shown, CellKey("smear.png", 99)) is None
    shown.add_image(np.zeros((900, 900)))  # so large that eight cells do not cover it
    fly_to(shown, layer, 3)
    middle = layer.data_to_world(np.asarray(layer.data[3]).mean(axis=0))
    assert shown.scene.camera.center[-2:] == pytest.approx(middle)
    height = np.ptp(np.asarray(layer.data[3])[:, 0]) * 0.5  # in world units, the longer side
    assert shown.scene.camera.zoom * height == pytest.approx(min(shown.canvas.size) / 8)


def test_a_bag_tells_apart_cells_that_share_image_and_number() -> None:
    table = KeyRows(["a.png", "a.png", "a.png"], [1, 1, 2], ["p", "q", "q"])
    assert table.rows(CellKey("a.png", 1, "q")) == [1]
    assert table.rows(CellKey("a.png", 2, "p")) == []
    assert table.rows(CellKey("a.png", 1)) == [0, 1]  # of an image that was opened alone
    assert KeyRows(["a.png"], [1], None).rows(CellKey("a.png", 1, "p")) == [0]


def test_a_layer_of_one_bag_takes_only_its_cells(shown: ViewerModel, layer: Shapes) -> None:
    layer.metadata[BAG] = "p"
    selection = selection_of(shown)
    selection.choose([CellKey("smear.png", 1, "p"), CellKey("smear.png", 2, "q")])
    assert layer.selected_data == {0}
    layer.selected_data = {3}
    assert selection.keys == {CellKey("smear.png", 4, "p")}
    assert rows_of(layer, [CellKey("smear.png", 5)]) == [4]


def test_a_large_cell_is_seen_from_no_farther_than_the_whole_image(viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((400, 600)))
    square = np.array([[300, 500], [300, 590], [390, 590], [390, 500]])
    fly_to(viewer, viewer.add_shapes([square], shape_type="polygon"), 0)
    assert viewer.scene.camera.center[-2:] == pytest.approx((345, 545))
    assert viewer.scene.camera.zoom == pytest.approx(min(viewer.canvas.size) / 600, rel=0.01)
