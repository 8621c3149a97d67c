from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot

from napari_amil.core.base.settings import SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers.cell_layer import cells_of
from napari_amil.plugin.layers.journal import journal_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.panels.detect import DetectPanel
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]
_WAIT_MS = 60_000
BOX = np.array([[5.0, 5], [5, 20], [20, 20], [20, 5]])


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> DetectPanel:
    panel = DetectPanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def found(panel: DetectPanel, viewer: ViewerModel, field: np.ndarray, done: Done) -> Shapes:
    """Return the cell layer after one detection."""
    viewer.add_image(field, rgb=True, name="smear", scale=(2, 2))
    layer: Shapes = done(panel.detected, panel.job.button.click)
    return layer


def test_a_press_finds_the_cells_of_the_shown_image(
    panel: DetectPanel, found: Shapes, viewer: ViewerModel
) -> None:
    assert found in viewer.layers
    assert viewer.layers.selection.active is found
    assert len(record_of(found).known) == 12
    assert found.nshapes == 7  # those with a detection score from 0.5
    np.testing.assert_allclose(found.scale, (2, 2))
    assert found.features["y0"].iloc[0] == 14
    assert panel.count.text() == "7 cells"
    assert panel.detail.text().startswith("of 12 candidates; a typical one is 2")
    assert panel.job.button.text() == "Find cells"
    assert not panel.job.is_running


def test_of_a_slide_the_rectangle_on_it_is_searched(
    panel: DetectPanel, viewer: ViewerModel, field: np.ndarray, done: Done
) -> None:
    whole = da.full((24_000, 24_000, 3), 230, dtype=np.uint8, chunks=(1000, 1000, 3))
    height, width = field.shape[:2]
    whole[2000 : 2000 + height, 3000 : 3000 + width] = da.from_array(field)
    slide = viewer.add_image([whole, whole[::16, ::16]], rgb=True, multiscale=True, name="slide")
    low, high = (2000, 3000), (2000 + height, 3000 + width)
    corners = [[low[0], low[1]], [low[0], high[1]], [high[0], high[1]], [high[0], low[1]]]
    viewer.add_shapes([np.array(corners, float)], shape_type="rectangle", name="region")
    panel.image.set_layer(slide)
    found: Shapes = done(panel.detected, panel.job.button.click)
    part = panel.image.layer()
    assert part.name == "slide at 3000, 2000"
    np.testing.assert_array_equal(part.data, field)
    assert found.nshapes == 7
    np.testing.assert_allclose(found.translate, (2000, 3000))


def test_a_slider_works_without_a_new_pass(panel: DetectPanel, found: Shapes, qtbot: QtBot) -> None:
    panel.selection.setValue(SelectionSettings(min_score=0.05))
    qtbot.waitUntil(lambda: found.nshapes == 12)
    assert panel.count.text() == "12 cells"
    panel.selection.setValue(SelectionSettings(min_score=0.9))
    qtbot.waitUntil(lambda: found.nshapes == 2)
    assert not panel.job.is_running
    assert found.features["cell_id"].tolist() == [1, 2]


def test_the_count_follows_what_is_drawn_and_deleted(panel: DetectPanel, found: Shapes) -> None:
    found.add(BOX, shape_type="rectangle")
    assert panel.count.text() == "8 cells"
    found.remove([0, 1, 2])
    assert panel.count.text() == "5 cells"


def test_without_an_image_it_says_what_to_do(panel: DetectPanel) -> None:
    panel.job.button.click()
    assert "There is no image yet" in panel.job.notice.text()
    assert not panel.job.is_running
    assert not panel.image.isEnabled()


def test_an_image_that_cannot_be_used_is_explained(panel: DetectPanel, viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((10, 10), np.uint8), name="tiny")
    panel.run()
    assert panel.job.notice.text().startswith("The image 'tiny' is only 10 x 10 pixels")


def test_cancel_stops_at_once_and_changes_nothing(
    panel: DetectPanel, viewer: ViewerModel, field: np.ndarray
) -> None:
    viewer.add_image(field, rgb=True)
    panel.run()
    assert panel.job.button.text() == "Cancel"
    panel.job.button.click()
    assert panel.job.button.text() == "Find cells"
    assert panel.job.notice.text() == "Cancelled; nothing was changed."
    assert len(viewer.layers) == 1


def test_the_choice_follows_the_layers(panel: DetectPanel, viewer: ViewerModel, field: np.ndarray) -> None:
    first = viewer.add_image(field, rgb=True, name="first")
    second = viewer.add_image(field, rgb=True, name="second")
    viewer.add_points(np.zeros((1, 2)))
    assert panel.image.layer() is second
    assert panel.image.count() == 2
    first.name = "renamed"
    assert panel.image.findText("renamed") >= 0
    assert panel.image.layer() is second
    viewer.layers.remove(second)
    assert panel.image.layer() is first


def test_a_second_detection_replaces_the_first(
    panel: DetectPanel, found: Shapes, viewer: ViewerModel, done: Done
) -> None:
    second = done(panel.detected, panel.run)
    assert found not in viewer.layers
    assert second.name == "cells of smear"
    assert len(viewer.layers) == 2


def test_a_second_detection_keeps_work_done_by_hand(
    panel: DetectPanel, found: Shapes, viewer: ViewerModel, done: Done
) -> None:
    found.add(BOX, shape_type="rectangle")
    done(panel.detected, panel.run)
    assert found in viewer.layers
    assert not found.visible
    assert "changed by hand" in found.name
    assert "stay in the earlier layer" in panel.job.notice.text()


def test_an_image_that_was_closed_gets_no_cells(
    panel: DetectPanel, viewer: ViewerModel, field: np.ndarray, done: Done, qtbot: QtBot
) -> None:
    viewer.add_image(field, rgb=True)
    panel.run()
    viewer.layers.clear()
    done(panel.job.finished)
    qtbot.waitUntil(lambda: "closed meanwhile" in panel.job.notice.text(), timeout=_WAIT_MS)
    assert len(viewer.layers) == 0


def test_what_changes_while_cells_are_found_counts(
    panel: DetectPanel, viewer: ViewerModel, field: np.ndarray, done: Done, qtbot: QtBot
) -> None:
    image = viewer.add_image(field, rgb=True)
    panel.run()
    image.translate = (3.0, 4.0)
    panel.selection.setValue(SelectionSettings(min_score=0.9))
    layer = done(panel.detected)
    assert tuple(layer.translate) == (3.0, 4.0)
    qtbot.waitUntil(lambda: layer.nshapes == 2, timeout=_WAIT_MS)


def test_each_plane_of_a_stack_has_cells_of_its_own(
    panel: DetectPanel, viewer: ViewerModel, field: np.ndarray, done: Done
) -> None:
    viewer.add_image(np.stack([field[..., 1]] * 3), rgb=False, name="stack")
    for place in (1, 2):
        viewer.dims.set_point(0, place)
        layer = done(panel.detected, panel.run)
        assert record_of(layer).place == (place,)
        assert set(layer.data[0][:, 0]) == {float(place)}
        assert layer.features["image"].iloc[0] == f"stack#{place + 1}"
    assert len(viewer.layers) == 3


def test_the_sliders_belong_to_the_selected_layer(
    panel: DetectPanel, found: Shapes, viewer: ViewerModel, field: np.ndarray, qtbot: QtBot, done: Done
) -> None:
    panel.selection.setValue(SelectionSettings(min_score=0.9))
    qtbot.waitUntil(lambda: found.nshapes == 2)
    viewer.add_image(field, rgb=True, name="other")
    panel.selection.setValue(SelectionSettings(min_score=0.05))
    qtbot.waitUntil(lambda: found.nshapes == 12)
    other = done(panel.detected, panel.run)
    panel.selection.setValue(SelectionSettings(min_score=0.9))
    qtbot.waitUntil(lambda: other.nshapes == 2)
    viewer.layers.selection.active = found
    assert panel.selection.value().min_score == 0.05
    assert (found.nshapes, other.nshapes) == (12, 2)


def test_removing_the_cells_empties_the_count(panel: DetectPanel, found: Shapes, viewer: ViewerModel) -> None:
    viewer.layers.remove(found)
    assert panel.count.isHidden()
    assert not panel.selection.isEnabled()


def test_shapes_drawn_before_become_cells(panel: DetectPanel, viewer: ViewerModel, field: np.ndarray) -> None:
    assert panel.existing.isHidden()
    viewer.add_image(field, rgb=True, name="smear")
    drawn = viewer.add_shapes([BOX, BOX + 40], shape_type="rectangle", name="mine")
    assert not panel.existing.isHidden()
    panel.existing.button.click()
    assert drawn.features["cell_id"].tolist() == [1, 2]
    assert drawn.features["image"].tolist() == ["smear", "smear"]
    assert panel.count.text() == "2 cells"
    assert not panel.selection.isEnabled()
    assert panel.existing.isHidden()
    drawn.remove([0])
    assert journal_of(drawn).undo() == "Undone: delete 1 cell."


def test_lines_open_paths_and_clicks_are_no_cells_and_this_is_said(
    panel: DetectPanel, viewer: ViewerModel, field: np.ndarray
) -> None:
    viewer.add_image(field, rgb=True, name="smear")
    drawn = viewer.add_shapes([BOX], shape_type="rectangle", name="mine")
    drawn.add([BOX[:2]], shape_type="line")
    drawn.add([BOX + 50], shape_type="path")
    drawn.add([np.tile(BOX[:1], (2, 1))], shape_type="path")
    panel.existing.button.click()
    said = "3 shapes are no cells and are left out: lines, open paths and clicks have no area."
    assert panel.job.notice.text() == said
    assert cells_of(drawn).cell_id.tolist() == [1]


def test_a_slider_leaves_cells_alone_that_it_cannot_judge(
    panel: DetectPanel, viewer: ViewerModel, cells: Cells, image: Image, build_layer: Done, qtbot: QtBot
) -> None:
    layer = build_layer(Cells(cells.boxes, cells.outlines), image)  # as from a label image
    viewer.add_layer(image)
    viewer.add_layer(layer)
    viewer.layers.selection.active = layer
    panel.selection.setValue(SelectionSettings(min_score=0.9))
    qtbot.waitUntil(lambda: not panel._settle.isActive())
    assert layer.nshapes == 5


def test_an_undone_slider_goes_back_in_the_panel(panel: DetectPanel, found: Shapes, qtbot: QtBot) -> None:
    panel.selection.setValue(SelectionSettings(min_score=0.9))
    qtbot.waitUntil(lambda: found.nshapes == 2)
    assert journal_of(found).undo() == "Undone: which cells count."
    assert found.nshapes == 7
    assert panel.selection.value().min_score == 0.5


def test_nothing_open_says_how_to_begin(panel: DetectPanel, viewer: ViewerModel, field: np.ndarray) -> None:
    assert "drag a smear" in panel.detail.text()
    viewer.add_image(field, rgb=True)
    assert panel.detail.text().startswith("Outlines every cell")
