"""Boxes, smooth field and overview: they lie where the cells are, follow them, and can be deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot

from napari_amil.core.base.types import Cells
from napari_amil.plugin.colour import overlays as _overlays
from napari_amil.plugin.colour.boxes_and_dots import box_vectors, most_telling, n_in_view
from napari_amil.plugin.colour.heatmap import make_field, smooth_field
from napari_amil.plugin.colour.hover import hover_of
from napari_amil.plugin.colour.overlays import Overlays, overlays_of
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.colour.style_choice import StyleChoice
from napari_amil.plugin.layers.cell_layer import set_scores, show_scale
from napari_amil.plugin.layers.colour_scale import CellStyle, ColourScale, default_scale
from napari_amil.plugin.layers.rows import DOTTED
from napari_amil.plugin.layers.selection import CellKey, selection_of

WAIT_MS = 30_000
SCALE = ColourScale("anomaly", 0.0, 10.0, "plasma")


@pytest.fixture
def scored(
    viewer: ViewerModel, image: Image, layer: Shapes, some_scores: pd.DataFrame, qtbot: QtBot
) -> Shapes:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    set_scores(layer, some_scores)
    show_scale(layer, SCALE)
    return layer


@pytest.fixture
def overlays(viewer: ViewerModel, scored: Shapes) -> Overlays:
    return overlays_of(viewer)


def named(viewer: ViewerModel, start: str) -> list[Any]:
    return [layer for layer in viewer.layers if layer.name.startswith(start)]


def set_style(viewer: ViewerModel, kind: str, opacity: float = 0.6) -> None:
    scales_of(viewer).set_style(CellStyle(kind, opacity))


def test_filled_cells_have_the_colour_of_their_score(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes
) -> None:
    set_style(viewer, "filled", 0.5)
    expected = SCALE.rgba(scored.features["anomaly"].to_numpy(float))
    np.testing.assert_allclose(scored.face_color[:, :3], expected[:, :3], atol=1e-6)
    assert (scored.face_color[:, 3] == 0.5).all()
    assert (scored.edge_color[:, 3] == 1).all()
    set_style(viewer, "outline")
    assert (scored.face_color[:, 3] == 0).all()


def test_boxes_stand_in_for_outlines_and_come_back(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes
) -> None:
    active = viewer.layers.selection.active
    before = scored.features.copy()
    set_style(viewer, "box")
    (boxes,) = named(viewer, "boxes of")
    assert viewer.layers.selection.active is active
    assert (scored.edge_color[:, 3] == 0).all()
    first = scored.features.loc[0, ["y0", "x0", "y1", "x1"]].to_numpy(float) - 0.5
    corners = boxes.data[:4, 0]
    assert [*corners.min(axis=0), *corners.max(axis=0)] == pytest.approx(list(first), rel=1e-5)
    np.testing.assert_allclose(
        boxes.edge_color[:4, :3], np.tile(SCALE.rgba(np.array([1.0]))[0, :3], (4, 1)), atol=1e-6
    )
    np.testing.assert_allclose(boxes.data_to_world((10, 20)), scored.data_to_world((10, 20)))
    set_style(viewer, "tinted")
    assert named(viewer, "boxes of") == []
    assert (scored.edge_color[:, 3] == 1).all()
    pd.testing.assert_frame_equal(scored.features, before)


def test_boxes_that_the_user_deletes_stay_away(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    set_style(viewer, "box")
    viewer.layers.remove(named(viewer, "boxes of")[0])
    qtbot.waitUntil(lambda: scales_of(viewer).style.kind == "tinted", timeout=WAIT_MS)
    overlays.refresh()
    assert named(viewer, "boxes of") == []
    assert (scored.edge_color[:, 3] == 1).all()


def test_boxes_follow_the_cells(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    set_style(viewer, "box")
    scored.selected_data = {0}
    scored.remove_selected()
    qtbot.waitUntil(lambda: len(named(viewer, "boxes of")[0].data) == 16, timeout=WAIT_MS)
    scored.scale = (2.0, 3.0)
    np.testing.assert_allclose(named(viewer, "boxes of")[0].scale, (2, 3))
    viewer.layers.remove(scored)
    qtbot.waitUntil(lambda: named(viewer, "boxes of") == [], timeout=WAIT_MS)


def test_the_field_is_the_kernel_weighted_mean() -> None:
    centres = np.array([[20.5, 20.5], [20.5, 40.5], [70.5, 70.5], [5.0, 5.0]])
    values = np.array([2.0, 6.0, 9.0, np.nan])
    field = smooth_field(centres, values, (100, 100), 5.0)
    assert field[20, 30] == pytest.approx(4.0)
    assert field[70, 70] == pytest.approx(9.0)
    near, far = np.exp(-0.5), np.exp(-(15**2) / 50)
    assert field[20, 25] == pytest.approx((2 * near + 6 * far) / (near + far), rel=1e-3)
    assert np.isnan(field[5, 5])
    assert np.isfinite(field[70, 79])
    assert np.isnan(field[70, 82])
    assert np.isnan(smooth_field(np.empty((0, 2)), np.empty(0), (9, 9), 2.0)).all()


@pytest.mark.parametrize("place", [(), (2,)])
def test_the_field_lies_on_the_image(
    place: tuple[int, ...], cells: Cells, some_scores: pd.DataFrame, build_layer: Callable[..., Shapes]
) -> None:
    turned: dict[str, Any] = {"rotate": 30, "translate": (3, 4)} if not place else {}
    shape = (*((4,) if place else ()), 1600, 2000, 3)
    image = Image(np.zeros(shape, np.uint8), rgb=True, scale=(2.0, 0.5, 0.25)[-len(shape) + 1 :], **turned)
    layer = build_layer(cells, image, place)
    layer.metadata["napari_amil"].image_shape = (1600, 2000)
    set_scores(layer, some_scores)
    show_scale(layer, SCALE)
    field = make_field(layer)
    height, width = field.data.shape[-2:]
    assert max(height, width) == 512
    first, last = (0,) * len(place), (height - 0.5, width - 0.5)
    corner = (*place, 1599.5, 1999.5)
    np.testing.assert_allclose(
        field.data_to_world((*first, -0.5, -0.5)), layer.data_to_world((*place, -0.5, -0.5))
    )
    np.testing.assert_allclose(field.data_to_world((*first, *last)), layer.data_to_world(corner), atol=1.0)
    assert tuple(field.contrast_limits) == (0, 10)
    row = layer.features["anomaly"].to_numpy(float)
    assert np.nanmax(field.data) <= np.nanmax(row)


def test_the_field_follows_score_and_scale_and_goes_when_deleted(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    overlays.show_field(True, 1.5)
    (field,) = named(viewer, "score field")
    before = np.nan_to_num(field.data)
    show_scale(scored, ColourScale("anomaly_percentile", 50.0, 100.0, "viridis"))
    qtbot.waitUntil(lambda: tuple(field.contrast_limits) == (50, 100), timeout=WAIT_MS)
    assert not np.allclose(np.nan_to_num(field.data), before)
    viewer.layers.remove(field)
    qtbot.waitUntil(lambda: not overlays.field_shown, timeout=WAIT_MS)
    overlays.refresh()
    assert named(viewer, "score field") == []


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cells are many, and two are few."""
    monkeypatch.setattr(_overlays, "MANY", 3)
    monkeypatch.setattr(_overlays, "FEW", 2)


@pytest.mark.usefixtures("many")
def test_many_cells_become_dots_and_outlines_again(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    overlays.refresh()
    (dots,) = named(viewer, "overview of")
    assert not scored.visible
    assert len(dots.data) == overlays.n_dotted == 5
    middle = np.asarray(scored.data[2]).mean(axis=0)
    np.testing.assert_allclose(dots.data[2], middle, atol=1)
    np.testing.assert_allclose(
        dots.face_color[:, :3], SCALE.rgba(scored.features["anomaly"].to_numpy(float))[:, :3], atol=1e-6
    )
    viewer.scene.camera.center = (0.0, *scored.data_to_world(middle))
    viewer.scene.camera.zoom = 100
    assert n_in_view(viewer, scored) == 1
    qtbot.waitUntil(lambda: scored.visible, timeout=WAIT_MS)
    assert named(viewer, "overview of") == named(viewer, "most unusual of") == []
    np.testing.assert_allclose(
        scored.edge_color, SCALE.edge_rgba(scored.features["anomaly"].to_numpy(float)), atol=1e-6
    )


@pytest.mark.usefixtures("many")
def test_the_chosen_and_the_most_unusual_keep_their_outlines(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    overlays.refresh()
    (outlines,) = named(viewer, "most unusual of")
    assert outlines.features["cell_id"].tolist() == [5, 3, 1]
    selection_of(viewer).choose([CellKey("smear.png", 2)])
    qtbot.waitUntil(lambda: outlines.nshapes == 4, timeout=WAIT_MS)
    assert outlines.features["cell_id"].tolist() == [2, 5, 3, 1]
    np.testing.assert_allclose(outlines.data[0], scored.data[1])
    (dots,) = named(viewer, "overview of")
    dots.selected_data = {3}
    assert selection_of(viewer).keys == {CellKey("smear.png", 4)}
    assert most_telling(scored, []) == [4, 2, 0]


@pytest.mark.usefixtures("many")
def test_scores_and_pointer_reach_dots(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    overlays.refresh()
    hover = hover_of(viewer)
    with qtbot.waitSignal(hover.cellChanged, timeout=WAIT_MS) as found:
        hover.look_at(scored.data_to_world((80.0, 50.0)))
    assert found.args == [scored, 2]
    set_scores(scored, pd.DataFrame({"cell_id": [1, 2, 3, 4, 5], "anomaly": [9.0, 1, 1, 1, 1]}))
    dots = named(viewer, "overview of")[0]
    expected = SCALE.rgba(np.array([9.0]))[0]
    qtbot.waitUntil(lambda: np.allclose(dots.face_color[0, :3], expected[:3], atol=1e-6), timeout=WAIT_MS)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("what", ["delete", "eye"])
def test_the_user_can_have_the_outlines_back(
    what: str, overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    overlays.refresh()
    if what == "delete":
        viewer.layers.remove(named(viewer, "overview of")[0])
    else:
        scored.visible = True
    qtbot.waitUntil(lambda: DOTTED not in scored.metadata and scored.visible, timeout=WAIT_MS)
    overlays.refresh()
    assert overlays.mode == "outlines"
    assert named(viewer, "overview of") == named(viewer, "most unusual of") == []
    overlays.set_mode("automatic")
    assert not scored.visible


def test_the_panel_shows_and_sets_everything(
    qtbot: QtBot, overlays: Overlays, viewer: ViewerModel, scored: Shapes
) -> None:
    choice, other = StyleChoice(viewer), StyleChoice(viewer)
    for widget in (choice, other):
        qtbot.addWidget(widget)
    choice.style_menu.setCurrentIndex(choice.style_menu.findData("filled"))
    choice.style_menu.activated.emit(0)
    assert scales_of(viewer).style.kind == "filled"
    assert other.style_menu.currentData() == "filled"
    choice.opacity.setValue(30)
    assert scored.face_color[0, 3] == pytest.approx(0.3)
    choice.field.setChecked(True)
    assert len(named(viewer, "score field")) == 1
    assert other.field.isChecked()
    choice.mode_menu.setCurrentIndex(choice.mode_menu.findData("dots"))
    choice.mode_menu.activated.emit(0)
    assert not scored.visible
    assert other.note.isVisibleTo(other)
    assert "5 cells are shown as dots" in other.note.text()
    choice.mode_menu.setCurrentIndex(0)
    choice.mode_menu.activated.emit(0)
    choice.field.setChecked(False)
    assert scored.visible
    assert [layer.name for layer in viewer.layers] == ["smear", "cells of smear"]


def test_companions_are_offered_nowhere(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes, qtbot: QtBot
) -> None:
    from napari_amil.plugin.window.follow import LayerCombo

    combo = LayerCombo(viewer, lambda layer: isinstance(layer, Image | Shapes), "none")
    qtbot.addWidget(combo)
    before = [combo.itemText(row) for row in range(combo.count())]
    overlays.set_mode("dots")
    overlays.show_field(True, 2.0)
    assert len(viewer.layers) == 5
    assert [combo.itemText(row) for row in range(combo.count())] == before


def test_the_sides_of_a_box_close(scored: Shapes) -> None:
    vectors = box_vectors(scored)
    assert vectors.shape == (20, 2, 2)
    ends = vectors[:, 0] + vectors[:, 1]
    np.testing.assert_allclose(ends.reshape(5, 4, 2)[:, :3], vectors[:, 0].reshape(5, 4, 2)[:, 1:], atol=1e-4)
    np.testing.assert_allclose(ends.reshape(5, 4, 2)[:, 3], vectors[:, 0].reshape(5, 4, 2)[:, 0], atol=1e-4)


def test_overlays_go_with_their_viewer(qtbot: QtBot) -> None:
    viewer = ViewerModel()
    key = id(viewer)
    overlays_of(viewer)
    assert key in overlays_of
    del viewer
    import gc

    gc.collect()
    assert key not in overlays_of


def test_cells_that_stand_out_have_a_number_and_a_broad_outline_and_the_rest_is_pale(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes
) -> None:
    table = pd.DataFrame({"cell_id": [1, 2, 3, 4, 5], "anomaly": [9.0, 1, 30, 2, 12]})
    table["anomaly_percentile"] = [99.0, 20, 100, 30, 99.9]
    table["anomaly_q"] = [0.2, 0.9, 0.01, 0.9, 0.04]
    set_scores(scored, table)
    show_scale(scored, default_scale("anomaly_percentile", np.empty(0)))
    overlays.refresh()
    (marks,) = named(viewer, "standing out of")
    assert marks.features["cell_id"].tolist() == [3, 5]
    assert marks.features["rank"].tolist() == ["1", "2"]
    np.testing.assert_allclose(marks.data[0], scored.data[2])
    assert marks.edge_width[0] == pytest.approx(2.2 * scored.edge_width[0])
    assert scored.edge_color[:, 3] == pytest.approx([0.5, 0.5, 1, 0.5, 1])
    assert (scored.face_color[[0, 1, 3], 3] == 0).all()
    scales_of(viewer).set_style(CellStyle(only_standing_out=True))
    assert scored.edge_color[:, 3] == pytest.approx([0, 0, 1, 0, 1])
    set_scores(scored, table.assign(anomaly_q=0.5))
    overlays.refresh()
    assert named(viewer, "standing out of") == []
    assert (scored.edge_color[:, 3] == 1).all()


def test_marks_that_the_user_deletes_stay_away(
    overlays: Overlays, viewer: ViewerModel, scored: Shapes
) -> None:
    table = pd.DataFrame({"cell_id": [1, 2, 3, 4, 5], "anomaly": [9.0, 1, 30, 2, 12], "anomaly_q": 0.01})
    set_scores(scored, table)
    overlays.refresh()
    viewer.layers.remove(named(viewer, "standing out of")[0])
    overlays.refresh()
    assert named(viewer, "standing out of") == []
