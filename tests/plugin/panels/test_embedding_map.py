from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QSizePolicy

from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.colour.map_colours import drawing_order, kind_colours, of_one_shade, rare_rows
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels.embedding_map import TSNE, EmbeddingMap
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> EmbeddingMap:
    panel = EmbeddingMap(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def full(panel: EmbeddingMap, scored: Path, viewer: ViewerModel, done: Done) -> EmbeddingMap:
    done(open_results_of(viewer).changed, lambda: panel.open_folder(str(scored)))
    panel.canvas.draw()
    return panel


def around(panel: EmbeddingMap, rows: list[int]) -> list[tuple[float, float]]:
    """Return the corners of a box around some points of the map."""
    (x0, y0), (x1, y1) = panel.place[rows].min(axis=0) - 0.3, panel.place[rows].max(axis=0) + 0.3
    return [(x0, y0), (x0, y1), (x1, y1), (x1, y0)]


def test_cells_lie_along_their_first_components(full: EmbeddingMap) -> None:
    assert full.place.shape == (15, 2)
    along = np.abs(np.diff(full.place[:, 0]))
    assert (along > 0.5).all()
    assert full.summary.text().startswith("15 cells.")


def test_a_lasso_selects_everywhere_and_a_selection_shows_on_the_map(
    full: EmbeddingMap, viewer: ViewerModel
) -> None:
    full._on_lasso(around(full, [2, 3]))
    chosen = selection_of(viewer)
    assert chosen.keys == {CellKey("0.png", 3, "bag 0"), CellKey("0.png", 4, "bag 0")}
    assert full.selected_rows().tolist() == [2, 3]
    np.testing.assert_allclose(full._ring.get_offsets(), full.place[[2, 3]])
    chosen.choose([CellKey("2.png", 1)])
    np.testing.assert_allclose(full._ring.get_offsets(), full.place[[10]])


def test_a_rectangle_selects_too(full: EmbeddingMap, viewer: ViewerModel) -> None:
    full.tool.setCurrentText("Rectangle")
    assert full.rectangle.active
    assert not full.lasso.active
    corners = around(full, [5, 6, 7])
    ends = [SimpleNamespace(xdata=x, ydata=y) for x, y in (corners[2], corners[0])]
    full._on_rectangle(*ends)
    assert selection_of(viewer).keys == {CellKey("1.png", n, "bag 1") for n in (1, 2, 3)}


def test_a_click_shows_the_cell_on_its_image(full: EmbeddingMap, viewer: ViewerModel) -> None:
    full._on_lasso([tuple(full.place[7])])
    (layer,) = cell_layers(viewer.layers)
    assert layer.name == "cells of 1"
    assert layer.selected_data == {2}
    assert full.selected_rows().tolist() == [7]


def test_every_column_colours_every_point(full: EmbeddingMap) -> None:
    names = [full.colour.itemData(row) for row in range(full.colour.count())]
    assert {"anomaly_percentile", "anomaly", "label", "patient", "verdict"} <= set(names)
    for row in range(full.colour.count()):
        full.colour.setCurrentIndex(row)
        points = drawn_points(full)
        assert {tuple(point) for point in points} == {tuple(point) for point in full.place}
        assert len(points) == 15
        full.canvas.draw()
        (legend,) = full.figure.legends
        assert legend.get_window_extent().y0 >= full.axes.get_window_extent().y1  # it hides no cell


def test_the_map_takes_the_room_of_its_dock(full: EmbeddingMap) -> None:
    assert full.canvas.sizePolicy().verticalPolicy() == QSizePolicy.Policy.Expanding


def drawn_points(panel: EmbeddingMap) -> np.ndarray:
    return np.concatenate([np.column_stack(line.get_data()) for line in panel.axes.lines])


def test_points_of_one_shade_are_drawn_together_in_their_order() -> None:
    red, blue, nearly_red = [1.0, 0, 0, 1], [0, 0, 1.0, 1], [0.99, 0, 0, 1]
    groups = of_one_shade(np.array([blue, red, nearly_red, red, blue, nearly_red]))
    assert [group.tolist() for group in groups] == [[0, 4], [1, 2, 3, 5]]


def test_the_rare_and_the_high_are_drawn_last() -> None:
    assert drawing_order(pd.Series([3.0, np.nan, 1.0])).tolist() == [1, 2, 0]
    assert drawing_order(pd.Series(["many", "few", "many", None])).tolist()[-1] == 1
    colours, legend = kind_colours(pd.Series([f"p{n}" for n in range(9)] + ["p8", None]))
    assert len(legend) == 8
    assert "all others" in legend
    assert (colours[9] == colours[8]).all()


def test_tsne_is_worked_out_once(full: EmbeddingMap, scored: Path, done: Done, qtbot: QtBot) -> None:
    full.method.setCurrentText(TSNE)
    assert not full.job.isHidden()
    done(full.job.finished, full.job.button.click)
    qtbot.waitUntil(lambda: full.place[0, 1] == 100, timeout=30_000)
    assert full.job.isHidden()
    full.method.setCurrentIndex(0)
    full.method.setCurrentText(TSNE)
    assert full.place[14].tolist() == [14, 86]


def test_density_hides_no_rare_cell(full: EmbeddingMap) -> None:
    full.colour.setCurrentIndex(full.colour.findData("label"))
    full.drawing.setCurrentIndex(1)
    hexagons = full.axes.collections[0]
    assert hexagons.get_array().sum() > 0
    unusual = np.flatnonzero(full._cells["anomaly_percentile"].to_numpy() >= 97.5)
    assert {tuple(p) for p in drawn_points(full)} == {tuple(p) for p in full.place[unusual]}
    cells = pd.DataFrame({"label": ["many"] * 199 + ["few"], "anomaly_q": [0.01] + [0.5] * 199})
    assert np.flatnonzero(rare_rows(cells, "label")).tolist() == [0, 199]
    assert np.flatnonzero(rare_rows(cells, "anomaly_q")).tolist() == [0]


def test_a_panel_without_results_says_what_to_do(panel: EmbeddingMap, tmp_path: Path, done: Done) -> None:
    assert "open the folder" in panel.summary.text()
    done(panel.errored, lambda: panel.open_folder(str(tmp_path)))
    assert "no scored folder" in panel.summary.text()
    panel._on_lasso([(0.0, 0.0)])
    panel.run()
    assert not panel.job.is_running


def test_both_themes_are_taken(full: EmbeddingMap, viewer: ViewerModel) -> None:
    colours = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        colours.append(full.figure.get_facecolor())
    assert colours[0] != colours[1]
