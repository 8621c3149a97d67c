"""Cells leave as files and come back: nothing is lost, and napari takes our writer and reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import npe2
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from napari.plugins import _npe2
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.coco import write_coco
from napari_amil.plugin.colour.overlays import overlays_of
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers import readers as _readers
from napari_amil.plugin.layers import rows as _rows
from napari_amil.plugin.layers import writers as _writers
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.colour_scale import CellStyle, ColourScale
from napari_amil.plugin.layers.edits import set_cell_type, set_excluded
from napari_amil.plugin.layers.journal import journal_of, keep

BOX = np.array([[5.0, 5.0], [5.0, 15.0], [20.0, 15.0], [20.0, 5.0]])


@pytest.fixture
def worked_on(layer: Shapes, some_scores: pd.DataFrame) -> Shapes:
    """A layer with scores, types, an excluded, a moved, a deleted and four drawn cells, one without area."""
    _layers.set_scores(layer, some_scores.assign(attention=[0.1, 1 / 3, 2 / 3]))
    _layers.show_scale(layer, ColourScale("anomaly", 0.0, 10.0, "viridis"))
    layer.add([BOX, BOX + 30.123], shape_type=["ellipse", "rectangle"])
    layer.add(BOX[:2], shape_type="line")
    layer.remove([3])
    layer._data_view.shift(1, np.array([3.3, 4.4]))
    layer.events.data(value=layer.data, action="changed", data_indices=(1,), vertex_indices=((),))
    set_cell_type(layer, [0], "Sichelzelle, groß")
    set_excluded(layer, [2], True)
    record = _layers.need_record(layer)
    record.selection = SelectionSettings(min_score=0.25)
    record.bag = {"predicted": "control", "probability": {"control": 1.0}}
    return layer


def _open(path: Path) -> list[Shapes]:
    layers = [Layer.create(*data) for data in _readers.get_reader(str(path))(str(path))]
    for layer in layers:
        keep(layer)
    return layers


def _assert_same_layer(one: Shapes, other: Shapes) -> None:
    pd.testing.assert_frame_equal(one.features, other.features)
    assert [str(kind) for kind in one.shape_type] == [str(kind) for kind in other.shape_type]
    for first, second in zip(one.data, other.data, strict=True):
        np.testing.assert_array_equal(first, second)
    for name in ("scale", "translate", "rotate", "shear", "edge_color", "edge_width"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.units == other.units
    assert one.name == other.name


def test_our_own_file_loses_nothing(worked_on: Shapes, tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"
    assert _writers.write_cells(str(path), *worked_on.as_layer_data_tuple()[:2]) == [str(path)]
    (again,) = _open(path)
    _assert_same_layer(worked_on, again)
    old, new = _layers.need_record(worked_on), _layers.need_record(again)
    for name in ("image_name", "image_shape", "place", "redrawn", "removed", "next_id", "bag", "scale"):
        assert getattr(old, name) == getattr(new, name)
    assert (old.selection, old.detection) == (new.selection, new.detection)
    pd.testing.assert_frame_equal(old.scores, new.scores)
    for name, array in old.known.arrays().items():
        np.testing.assert_array_equal(array, new.known.arrays()[name])
    first, second = _layers.cells_of(worked_on), _layers.cells_of(again)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    for outline, other in zip(first.outlines, second.outlines, strict=True):
        np.testing.assert_array_equal(outline, other)


def test_a_cell_that_was_opened_is_not_changed_by_a_click_and_never_gets_an_old_id(
    worked_on: Shapes, tmp_path: Path
) -> None:
    path = tmp_path / "cells.geojson"
    _writers.write_cells(str(path), *worked_on.as_layer_data_tuple()[:2])
    (again,) = _open(path)
    before = again.features.copy()
    everything = tuple(range(again.nshapes))
    again.events.data(value=again.data, action="changed", data_indices=everything, vertex_indices=((),))
    pd.testing.assert_frame_equal(again.features, before)
    again.add(BOX, shape_type="rectangle")
    assert again.features["cell_id"].iloc[-1] == 9
    journal_of(again).undo()
    _layers.show_cells(again, _layers.need_record(again).known)
    assert 4 not in set(again.features["cell_id"])  # deleted before it was saved


def test_qupath_sees_every_cell_in_our_own_file(worked_on: Shapes, tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"
    _writers.write_cells(str(path), *worked_on.as_layer_data_tuple()[:2])
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    ids = [feature["properties"]["measurements"]["cell_id"] for feature in features]
    assert ids == [1, 2, 3, 5, 6, 7]  # all but the line
    assert features[0]["properties"]["classification"] == {"name": "Sichelzelle, groß"}


def test_a_table_keeps_every_column_and_outline(worked_on: Shapes, tmp_path: Path) -> None:
    worked_on.remove([worked_on.nshapes - 1])  # the line has no area
    path = tmp_path / "cells.csv"
    _writers.write_table(str(path), *worked_on.as_layer_data_tuple()[:2])
    (again,) = _open(path)
    boxes = ["y0", "x0", "y1", "x1"]
    old, new = (layer.features.drop(columns=boxes) for layer in (worked_on, again))
    pd.testing.assert_frame_equal(old, new)
    first, second = _layers.cells_of(worked_on), _layers.cells_of(again)
    np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-4)
    for outline, other in zip(first.outlines, second.outlines, strict=True):
        np.testing.assert_allclose(outline, other, atol=1e-5)


def test_shapes_that_are_no_cells_are_written_as_napari_does(tmp_path: Path) -> None:
    path = tmp_path / "shapes.csv"
    plain = Shapes([BOX], shape_type="rectangle", name="mine")
    _writers.write_table(str(path), *plain.as_layer_data_tuple()[:2])
    assert path.read_text().startswith("index,shape-type,vertex-index")
    written = _writers.write_cells(str(tmp_path / "x.geojson"), *plain.as_layer_data_tuple()[:2])
    assert written == [str(tmp_path / "x.csv")]
    assert (tmp_path / "x.csv").read_text() == path.read_text()
    assert _readers.get_reader(str(path)) is None


def test_boxes_of_another_program_become_cells_of_their_images(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("image,y0,x0,y1,x1,note\na.png,1,2,11,22,x\nb.png,3,4,13,24,\na.png,5,6,15,26,y\n")
    first, second = _open(path)
    assert (first.name, second.name) == ("cells of a", "cells of b")
    assert first.features["cell_id"].tolist() == [1, 2]
    assert first.features["note"].tolist() == ["x", "y"]
    assert first.features["status"].tolist() == ["unscored", "unscored"]
    assert _layers.cells_of(first).boxes.tolist() == [[1, 2, 11, 22], [5, 6, 15, 26]]


def test_coco_becomes_cells(cells: Cells, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    write_coco({"a.png": ((160, 200), cells), "empty.png": ((160, 200), cells.take([]))}, path)
    (layer,) = _open(path)
    np.testing.assert_allclose(_layers.cells_of(layer).boxes, cells.boxes, rtol=1e-5)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "not a table"])
def test_other_tables_are_left_to_others(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    assert _readers.get_reader(str(path)) is None
    assert _readers.get_reader([str(path), str(tmp_path / "cells.geojson")]) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"napari_amil": {"version": 99}}', "version 99"),
        ('{"napari_amil": {"version": 1}}', "damaged"),
        ("{", "as JSON"),
        ('{"type": "FeatureCollection", "features": []}', "holds no cells"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.geojson"
    path.write_text(text)
    with pytest.raises(AmilError, match=said) as caught:
        _readers.read(str(path))
    assert "broken.geojson" in str(caught.value)


def test_napari_saves_and_opens_with_our_writer_and_reader(
    worked_on: Shapes, image: Image, tmp_path: Path, qtbot: QtBot
) -> None:
    npe2.PluginManager.instance().discover()
    for name in ("smear.geojson", "smear.cells.csv"):
        path = tmp_path / name
        paths, plugin = _npe2.write_layers(str(path), [worked_on])
        assert (paths, plugin) == ([str(path)], "napari-amil")
        assert "napari-amil" in _npe2.get_readers(str(path))
    assert list(_npe2.get_readers(str(tmp_path / "smear.geojson"))) == ["napari-amil"]
    viewer = ViewerModel()
    look_after(viewer)
    image.name = "smear.png"
    viewer.add_layer(image)
    (again,) = viewer.open(str(tmp_path / "smear.geojson"), plugin="napari-amil")
    assert _layers.need_record(again).image_id == str(image.unique_id)
    _assert_same_layer(worked_on, again)


def test_naparis_own_writer_never_drops_the_features_of_cells(
    viewer: ViewerModel, image: Image, worked_on: Shapes, tmp_path: Path, qtbot: QtBot
) -> None:
    """However cells are saved in napari: the first kind offered, a bare .csv, or all layers at once."""
    npe2.PluginManager.instance().discover()
    viewer.add_layer(image)
    viewer.add_layer(worked_on)
    viewer.add_shapes([BOX], shape_type="rectangle", name="plain")
    look_after(viewer)
    offered, found = _npe2.file_extensions_string_for_layers([worked_on])
    assert offered.startswith("AMIL blood smears Cells with all scores (*.geojson);;")
    (path,), _ = _npe2.write_layers(str(tmp_path / "cells of 267.jpg"), [worked_on], writer=found[0])
    assert path.endswith("cells of 267.jpg.geojson")
    _assert_same_layer(worked_on, *_open(Path(path)))
    (path,), _ = _npe2.write_layers(str(tmp_path / "table.csv"), [worked_on])
    assert _open(Path(path))[0].features["anomaly"].notna().sum() == 2
    worked_on.name = _rows.layer_name("slides/267.jpg")
    written = {Path(path).name for path in viewer.layers.save(str(tmp_path / "all"))}
    assert written == {"smear.tif", "cells of 267.geojson", "plain.csv"}
    _assert_same_layer(worked_on, *_open(tmp_path / "all" / "cells of 267.geojson"))


def test_all_layers_are_saved_while_cells_are_shown_as_boxes(
    viewer: ViewerModel, image: Image, worked_on: Shapes, tmp_path: Path, qtbot: QtBot
) -> None:
    npe2.PluginManager.instance().discover()
    viewer.add_layer(image)
    viewer.add_layer(worked_on)
    look_after(viewer)
    overlays = overlays_of(viewer)
    overlays.show_field(True, 1.0)
    scales_of(viewer).set_style(CellStyle("box"))
    viewer.add_vectors(np.ones((1, 2, 2)), name="arrows")
    kinds = sorted(type(layer).__name__ for layer in viewer.layers)
    assert kinds == ["Image", "Image", "Shapes", "Vectors", "Vectors"]
    notification_manager.records.clear()
    written = viewer.layers.save(str(tmp_path / "all"))
    said = [record.message for record in notification_manager.records]
    assert {Path(path).name for path in written} == {"smear.tif", "cells of smear.geojson"}
    _assert_same_layer(worked_on, *_open(tmp_path / "all" / "cells of smear.geojson"))
    assert said == [
        "Vectors cannot be saved in a folder; left out: arrows.",
        "Not saved, since they are drawn from the cells again: score field of smear, boxes of smear.",
    ]
    with pytest.raises(AmilError, match="holds files of these names already; choose another"):
        viewer.layers.save(str(tmp_path / "all"))
    boxes = next(layer for layer in viewer.layers if layer.name == "boxes of smear")
    assert _writers.write_folder(str(tmp_path / "alone"), [boxes.as_layer_data_tuple()]) == []
    assert not (tmp_path / "alone").exists()


def test_a_table_finds_its_image_by_name_and_takes_its_place(
    tmp_path: Path, field: np.ndarray, qtbot: QtBot, build_layer: Callable[..., Shapes]
) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("image,y0,x0,y1,x1\nfolder/smear.png,1,2,11,22\n")
    viewer = ViewerModel()
    look_after(viewer)
    (layer,) = (viewer.add_layer(Layer.create(*data)) for data in _readers.read(str(path)))
    picture = viewer.add_image(field, rgb=True, name="smear.png", scale=(0.5, 0.5))
    record = _layers.need_record(layer)
    assert record.image_id == str(picture.unique_id)
    assert record.image_shape == (160, 200)
    np.testing.assert_array_equal(layer.scale, (0.5, 0.5))
