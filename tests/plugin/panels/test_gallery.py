from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_amil.core.base.columns import column_of
from napari_amil.core.base.types import Cells
from napari_amil.plugin.cohorts.gallery_order import sorting
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.cohorts.scored_folder import read_scored_folder
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.layers import selection
from napari_amil.plugin.layers.cell_layer import cells_of, set_scores
from napari_amil.plugin.layers.colour_scale import default_scale
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels.gallery import GalleryPanel

WAIT_MS = 120_000
Done = Callable[..., Any]


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel) -> GalleryPanel:
    panel = GalleryPanel(viewer)
    qtbot.addWidget(panel)
    panel.resize(420, 640)
    panel.show()
    return panel


@pytest.fixture
def scored(viewer: ViewerModel, image: Image, layer: Shapes, some_scores: pd.DataFrame) -> Shapes:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    set_scores(layer, some_scores)
    return layer


def ids(panel: GalleryPanel) -> list[int]:
    return [panel.key_at(position).cell_id for position in range(len(panel._shown))]


def wait_for(qtbot: QtBot, panel: GalleryPanel, count: int) -> None:
    qtbot.waitUntil(lambda: len(panel._shown) == count and not panel.reading_folder, timeout=WAIT_MS)


def test_cells_of_open_images_come_in_the_order_of_a_score(panel: GalleryPanel, scored: Shapes) -> None:
    panel.refresh()
    assert ids(panel) == [5, 3, 1, 2, 4]  # without a score: last
    panel.order.setValue("anomaly", highest_first=False)
    assert ids(panel) == [1, 3, 5, 2, 4]
    panel.order.setValue("detection_score")
    assert ids(panel) == [1, 2, 3, 4, 5]


def test_cells_that_tie_are_told_apart_by_their_distance(panel: GalleryPanel, scored: Shapes) -> None:
    tied = pd.DataFrame({"cell_id": [1, 2, 3], "anomaly": [9.0, 12.0, 4.0]})
    set_scores(scored, tied.assign(anomaly_percentile=[100.0, 100.0, 97.0]))
    panel.refresh()
    panel.order.setValue("anomaly_percentile")
    captions = [panel._tile(position).caption for position in range(5)]
    assert captions == ["100.0 % · 12", "100.0 % · 9", "97.0 %", "no value", "no value"]
    panel.order.setValue("anomaly")
    assert panel._tile(0).caption == "12"
    near = pd.DataFrame({"cell_id": [1, 2, 3], "anomaly": [12.01, 12.04, 4.0]})
    set_scores(scored, near.assign(anomaly_percentile=[99.971, 99.974, 97.0]))
    panel.refresh()
    assert [panel._tile(position).caption for position in range(3)] == ["12.04", "12.01", "4"]
    panel.order.setValue("anomaly_percentile")
    assert [panel._tile(position).caption for position in range(3)] == ["99.974 %", "99.971 %", "97.0 %"]


def test_the_gallery_follows_the_layers(
    qtbot: QtBot, panel: GalleryPanel, scored: Shapes, viewer: ViewerModel
) -> None:
    wait_for(qtbot, panel, 5)
    scored.selected_data = {0}
    scored.remove_selected()
    wait_for(qtbot, panel, 4)
    assert 1 not in ids(panel)
    viewer.layers.clear()
    wait_for(qtbot, panel, 0)


def test_filters_join(panel: GalleryPanel, scored: Shapes, qtbot: QtBot) -> None:
    panel.refresh()
    panel.filter.text.setText("anomaly > 2")
    qtbot.keyClick(panel.filter.text, Qt.Key.Key_Return)
    assert ids(panel) == [5, 3]
    assert panel.count.text() == "2 of 5 cells"
    panel.filter.text.setText("anomaly > 2 and cell_id < 4")
    qtbot.keyClick(panel.filter.text, Qt.Key.Key_Return)
    assert ids(panel) == [3]
    panel.filter.text.setText("nonsense")
    qtbot.keyClick(panel.filter.text, Qt.Key.Key_Return)
    assert "no comparison" in panel.filter.problem.text()
    panel.filter.text.clear()
    menu = panel.filter.menus["status"]
    menu.setCurrentIndex(menu.findData("unscored"))
    menu.activated.emit(menu.currentIndex())
    assert ids(panel) == [2, 4]


def test_whole_and_sure_cells_only(panel: GalleryPanel, scored: Shapes) -> None:
    table = scored.features.assign(anomaly_q=[0.5, 0.01, np.nan, 0.2, 0.04], touches_border=[0, 0, 0, 0, 1])
    scored.features = table
    panel.refresh()
    panel.filter.sure.setChecked(True)
    assert sorted(ids(panel)) == [2, 5]
    panel.filter.whole.setChecked(True)
    assert ids(panel) == [2]


def test_a_choice_is_shared_both_ways(panel: GalleryPanel, scored: Shapes, viewer: ViewerModel) -> None:
    panel.refresh()
    panel.grid.show_chosen([0, 2], 2)
    panel.grid.chosen.emit()
    selection = selection_of(viewer)
    assert selection.keys == {CellKey("smear.png", 5), CellKey("smear.png", 1)}
    assert selection.current == CellKey("smear.png", 1)
    assert scored.selected_data == {0, 4}
    scored.selected_data = {2}
    assert panel.grid.positions() == [1]
    assert panel.grid.current == 1
    panel.order.setValue("anomaly", highest_first=False)
    assert panel.grid.positions() == [1]
    panel.order.setValue("cell_id")
    selection.choose([CellKey("elsewhere.png", 1)])
    assert panel.grid.positions() == []


def test_a_click_flies_to_the_cell(
    qtbot: QtBot, panel: GalleryPanel, scored: Shapes, viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_CELLS_ACROSS", 1)  # the cells are large in this image
    panel.refresh()
    qtbot.mouseClick(panel.grid.viewport(), Qt.MouseButton.LeftButton, pos=panel.grid.place_of(0).center())
    middle = scored.data_to_world(np.asarray(scored.data[4]).mean(axis=0))
    assert viewer.scene.camera.center[-2:] == pytest.approx(middle)
    assert selection_of(viewer).current == CellKey("smear.png", 5)


def test_thumbnails_show_the_cells(
    qtbot: QtBot, panel: GalleryPanel, scored: Shapes, field: np.ndarray
) -> None:
    panel.refresh()
    panel.grid.grab()
    qtbot.waitUntil(lambda: panel._tile(0).picture is not None, timeout=WAIT_MS)
    tile = panel._tile(0)
    assert tile.caption == "99.0 %"
    assert tile.picture.pixelColor(64, 64).getRgb()[:3] == tuple(field[130, 30])


def test_the_colour_is_that_of_the_one_scale(
    panel: GalleryPanel, scored: Shapes, viewer: ViewerModel
) -> None:
    panel.refresh()
    scales = scales_of(viewer)
    scale = scales.get("anomaly_percentile")
    assert scale is not None
    expected = scale.rgba(np.array([99.0]))[0]
    assert panel._tile(0).colour.getRgbF() == pytest.approx(expected, abs=1e-2)
    other = default_scale("anomaly_percentile", np.array([1.0])).__class__(
        "anomaly_percentile", 0, 400, "viridis"
    )
    scales["anomaly_percentile"] = other
    assert panel._tile(0).colour.getRgbF() == pytest.approx(other.rgba(np.array([99.0]))[0], abs=1e-2)


def test_a_scored_cohort_is_read_and_its_images_opened_when_wanted(
    qtbot: QtBot, panel: GalleryPanel, viewer: ViewerModel, scored_cohort: Path
) -> None:
    panel.source.setValue(scored_cohort)
    wait_for(qtbot, panel, 15)
    assert len(viewer.layers) == 0
    menu = panel.filter.menus["predicted"]
    menu.setCurrentIndex(menu.findData("thal"))
    menu.activated.emit(menu.currentIndex())
    assert len(panel._shown) == 10
    key = panel.key_at(0)
    panel.show_cell(0)
    names = [layer.name for layer in viewer.layers]
    assert names == [Path(key.image).name, f"cells of {Path(key.image).stem}"]
    layer = viewer.layers[-1]
    assert selection_of(viewer).current == key
    record = record_of(layer)
    assert record is not None
    assert record.image_name == key.image
    row = layer.features["cell_id"].tolist().index(key.cell_id)
    assert layer.selected_data == {row}
    scale = scales_of(viewer).get(panel.order.value()[0])
    assert record.scale == scale
    assert layer.features["anomaly"][row] == panel._values[panel._shown[0]]
    panel.show_cell(1)
    assert len(viewer.layers) == (2 if panel.key_at(1).image == key.image else 4)


def test_cells_of_a_scored_folder_are_opened_with_their_outlines(
    qtbot: QtBot, panel: GalleryPanel, viewer: ViewerModel, cells: Cells, scored_project: Path
) -> None:
    panel.source.setValue(scored_project)
    wait_for(qtbot, panel, 15)
    panel.order.setValue("anomaly")
    assert panel.key_at(0) == ("2.png", 3, "bag 2")
    panel.show_cell(0)
    layer = viewer.layers[-1]
    assert len(layer.data[0]) == 6
    for outline, known in zip(cells_of(layer).outlines, cells.outlines, strict=True):
        np.testing.assert_allclose(outline, known, atol=1e-4)
    later = (scored_project / "project.json").stat().st_mtime + 60
    os.utime(scored_project / "cells.csv", (later, later))  # a table that somebody changed is what counts
    assert read_scored_folder(scored_project).outlines == ()


def test_the_cohort_that_another_panel_opened_is_shown(
    qtbot: QtBot, panel: GalleryPanel, viewer: ViewerModel, scored_project: Path, done: Done
) -> None:
    state = open_results_of(viewer)
    done(state.changed, lambda: state.open(scored_project))
    wait_for(qtbot, panel, 15)
    assert panel.source.value() == scored_project
    later = GalleryPanel(viewer)
    qtbot.addWidget(later)
    wait_for(qtbot, later, 15)
    panel.source.setValue(None)
    viewer.add_layer(Image(np.zeros((8, 8, 3), np.uint8)))
    assert panel.source.value() is None  # what the user has chosen stays


def test_an_image_of_the_cohort_comes_to_the_front(
    qtbot: QtBot, panel: GalleryPanel, viewer: ViewerModel, scored_cohort: Path
) -> None:
    panel.source.setValue(scored_cohort)
    wait_for(qtbot, panel, 15)
    panel.order.setValue("detection_score")
    first = next(p for p in range(15) if panel.key_at(p).image == "one.png")
    second = next(p for p in range(15) if panel.key_at(p).image == "sub/two.png")
    panel.show_cell(first)
    panel.show_cell(second)
    assert [layer.visible for layer in viewer.layers] == [False, False, True, True]
    panel.show_cell(first)
    assert [layer.visible for layer in viewer.layers] == [True, True, False, False]
    assert len(viewer.layers) == 4


def test_another_cell_with_the_same_number_is_not_taken_for_it(
    qtbot: QtBot, panel: GalleryPanel, viewer: ViewerModel, scored_cohort: Path, image: Image, layer: Shapes
) -> None:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    record_of(layer).image_name = "one.png"
    layer.features = layer.features.assign(image="one.png", cell_id=[5, 4, 3, 2, 1])
    panel.source.setValue(scored_cohort)
    wait_for(qtbot, panel, 15)
    position = next(p for p in range(15) if panel.key_at(p) == ("one.png", 1, "p1"))
    panel.show_cell(position)
    assert len(viewer.layers) == 4


def test_a_folder_that_is_none_is_told(
    panel: GalleryPanel, tmp_path: Path, done: Done, scored: Shapes
) -> None:
    said = done(panel.errored, lambda: panel.source.setValue(tmp_path))
    assert "choose a folder that napari-amil score has written" in said
    assert panel.notice.isVisibleTo(panel)
    panel.source.setValue(None)
    assert len(panel._shown) == 5
    assert not panel.notice.isVisibleTo(panel)


def test_lost_images_are_asked_for(
    qtbot: QtBot, panel: GalleryPanel, tmp_path: Path, scored_cohort: Path, viewer: ViewerModel
) -> None:
    smears = scored_cohort.parent / "smears"
    (tmp_path / "a").mkdir()
    smears.rename(tmp_path / "a" / "c")
    table = pd.read_csv(scored_cohort / "cells.csv")
    table["image"] = "deep/" + table["image"]
    table.to_csv(scored_cohort / "cells.csv", index=False)
    panel.source.setValue(scored_cohort)
    wait_for(qtbot, panel, 15)
    assert panel.source.choose_images.isVisibleTo(panel)
    panel.show_cell(0)
    assert "choose their folder" in panel.notice.text()
    (tmp_path / "a" / "c").rename(tmp_path / "a" / "deep")
    panel.source.show_images(tmp_path / "a", asked=True)
    panel.source.imagesChanged.emit()
    panel.show_cell(0)
    assert len(viewer.layers) == 2
    assert not panel.source.choose_images.isVisibleTo(panel)


def test_equal_values_come_by_their_anomaly() -> None:
    values, anomaly = np.array([100.0, 100, 99, np.nan]), np.array([5.0, 9, 20, 1])
    assert sorting("anomaly_percentile", values, anomaly, True).tolist() == [1, 0, 2, 3]
    q = np.array([0.01, 0.01, 0.5, np.nan])
    assert sorting("anomaly_q", q, anomaly, False).tolist() == [1, 0, 2, 3]


def test_values_are_written_with_their_unit() -> None:
    assert column_of("area_px").text(1234.0) == "1,234 px²"
    assert column_of("contribution_thal").text(0.5) == "+0.500"
    assert column_of("anomaly").text(np.nan) == "no value"


def test_a_closed_gallery_leaves_the_viewer_alone(
    qtbot: QtBot, viewer: ViewerModel, image: Image, layer: Shapes
) -> None:
    panels = [GalleryPanel(viewer), GalleryPanel(viewer)]
    for panel in panels:
        with qtbot.waitSignal(panel.destroyed, timeout=WAIT_MS):
            panel.deleteLater()
    viewer.add_layer(image)
    viewer.add_layer(layer)
    selection_of(viewer).choose([CellKey("smear.png", 1)])
    viewer.layers.clear()
