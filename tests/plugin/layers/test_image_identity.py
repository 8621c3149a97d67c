"""Images of one name in two folders stay two images, for cells found here and cells of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.layers._source import layer_source
from pytestqt.qtbot import QtBot

from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.layers import readers as _readers
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import make_layer
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA
from napari_amil.plugin.layers.planes import plane_at
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.selection import CellKey, find_cell, keys_of, selection_of


@pytest.fixture
def two_fields(viewer: ViewerModel, field: np.ndarray, tmp_path: Path, qtbot: QtBot) -> list[Image]:
    """``A/field.png`` and ``B/field.png``, open both."""
    look_after(viewer)
    images = []
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "field.png"
        images.append(_open(viewer, path, field))
    return images


def _open(viewer: ViewerModel, path: Path, pixels: np.ndarray) -> Image:
    """Add an image that comes from a file."""
    with layer_source(path=str(path)):
        return viewer.add_image(pixels, rgb=True, name=path.stem)


def _found(viewer: ViewerModel, image: Image, cells: Cells) -> Shapes:
    record = plane_at(image, ()).record()
    record.candidates = Candidates.from_cells(cells, 24.0)
    return viewer.add_layer(make_layer(cells, record, image))


def test_a_cell_of_one_field_is_not_the_same_cell_of_the_other(
    viewer: ViewerModel, two_fields: list[Image], cells: Cells
) -> None:
    first, second = (_found(viewer, image, cells) for image in two_fields)
    assert keys_of(first, [0]) == [CellKey("field.png", 1)]
    assert keys_of(second, [0]) == [CellKey("B/field.png", 1)]
    assert set(second.features["image"]) == {"B/field.png"}
    assert [first.name, second.name] == ["cells of field", "cells of field in B"]
    selection = selection_of(viewer)
    for layer, other in ((first, second), (second, first)):
        (key,) = keys_of(layer, [2])
        selection.choose([key], key)
        assert (layer.selected_data, other.selected_data) == ({2}, set())
        assert find_cell(viewer, key) == (layer, 2)


def _table(folder: Path, cells: Cells, names: list[str]) -> Path:
    """Write a table of scored cells of several images, as ``score --out`` leaves it."""
    path = folder / "cells.csv"
    parts = [cells.table().assign(image=name, anomaly_percentile=99.9, anomaly=9.0) for name in names]
    table = parts[0] if len(parts) == 1 else pd.concat(parts)
    table.to_csv(path, index=False)
    return path


def test_boxes_of_images_that_are_not_open_are_hidden_until_they_are(
    viewer: ViewerModel, field: np.ndarray, cells: Cells, tmp_path: Path, qtbot: QtBot
) -> None:
    look_after(viewer)
    _open(viewer, tmp_path / "one.png", field)
    for data in _readers.read(str(_table(tmp_path, cells, ["one.png", "two.png"]))):
        viewer._add_layer_from_data(*data)
    one, two = viewer.layers[1:]
    assert (one.visible, two.visible) == (True, False)
    _open(viewer, tmp_path / "two.png", field)
    assert two.visible
    assert record_of(two).image_id == str(viewer.layers[-1].unique_id)


def test_a_name_with_folders_means_the_image_in_that_folder(
    viewer: ViewerModel, two_fields: list[Image], cells: Cells, tmp_path: Path
) -> None:
    for data in _readers.read(str(_table(tmp_path, cells, ["B/field.png", "A/field.png", "C/field.png"]))):
        viewer._add_layer_from_data(*data)
    owner = {record_of(layer).image_name: record_of(layer).image_id for layer in viewer.layers[2:]}
    assert owner["A/field.png"] == str(two_fields[0].unique_id)
    assert owner["B/field.png"] == str(two_fields[1].unique_id)
    assert owner["C/field.png"] == ""


def test_scores_of_a_table_colour_its_cells_at_once(
    viewer: ViewerModel, two_fields: list[Image], cells: Cells, tmp_path: Path
) -> None:
    for data in _readers.read(str(_table(tmp_path, cells, ["A/field.png"]))):
        viewer._add_layer_from_data(*data)
    layer = viewer.layers[-1]
    assert record_of(layer).scale.column == "anomaly_percentile"
    expected = record_of(layer).scale.edge_rgba(np.array([99.9]))[0]
    np.testing.assert_allclose(layer.edge_color, np.tile(expected, (5, 1)), atol=1e-6)
    assert not np.allclose(layer.edge_color[0], UNSCORED_RGBA)
    assert set(layer.features["status"]) == {"scored"}
