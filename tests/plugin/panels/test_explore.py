from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backend_bases import MouseEvent
from napari._qt.qt_resources import get_stylesheet
from napari.components import ViewerModel
from PIL import Image as PillowImage
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, Qt

from napari_amil.core.exchange.project import note_in_card, read_project, write_project
from napari_amil.plugin.cohorts.bag_table import fit_height, grouped, knows_patients
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels.embedding_map import EmbeddingMap
from napari_amil.plugin.panels.explore import ExplorePanel
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]
WAIT_MS = 30_000


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> ExplorePanel:
    panel = ExplorePanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def full(panel: ExplorePanel, scored: Path, viewer: ViewerModel, done: Done) -> ExplorePanel:
    done(open_results_of(viewer).changed, lambda: panel.open_folder(str(scored)))
    return panel


@pytest.fixture
def found(full: ExplorePanel, done: Done) -> ExplorePanel:
    done(full.clusters.found, full.clusters.job.button.click)
    return full


def column(page: Any, name: str) -> list[str]:
    place = list(page.model.table.columns).index(name)
    return [page.rows.index(row, place).data() for row in range(page.rows.rowCount())]


def test_results_without_controls_are_shown(
    panel: ExplorePanel, scored: Path, viewer: ViewerModel, qtbot: QtBot
) -> None:
    """A folder of loose images has neither labels nor patients."""
    project = read_project(scored)
    bags = project.bags.assign(patient=project.bags["bag"], label=None)
    write_project(replace(project, bags=bags), scored)
    with qtbot.waitSignal(open_results_of(viewer).changed, timeout=WAIT_MS):
        panel.open_folder(str(scored))
    assert panel.summary.text() == "3 samples, 15 cells. For research only."
    panel.pages.setCurrentWidget(panel.distributions)
    assert panel.distributions.shown is not None
    assert panel.distributions.shown.band is None
    assert sum(panel.distributions.shown.counts) == 12
    assert panel.distributions.note.text() == "No control sample is labelled."


def press(page: Any, row: int) -> None:
    page.view.setCurrentIndex(page.rows.index(row, 0))
    page.view.clicked.emit(page.rows.index(row, 0))


def test_a_panel_without_results_says_what_to_do(panel: ExplorePanel, tmp_path: Path, done: Done) -> None:
    assert "open the folder" in panel.summary.text()
    assert panel.pages.isHidden()
    panel.clusters.run()
    assert not panel.clusters.job.is_running
    done(panel.errored, lambda: panel.open_folder(str(tmp_path)))
    assert "no scored folder" in panel.summary.text()


def test_clusters_are_rows_and_a_click_shows_their_cells_everywhere(
    found: ExplorePanel, viewer: ViewerModel, worker: Worker, qtbot: QtBot
) -> None:
    chart = EmbeddingMap(viewer, worker)
    qtbot.addWidget(chart)
    page = found.clusters
    assert column(page, "cluster") == ["1", "2"]
    assert column(page, "nearest_distance") == ["2.5", "0.5"]
    assert column(page, "anomaly") == ["13", "2"]
    assert page.view.minimumHeight() == page.view.maximumHeight() < 5 * page.view.rowHeight(0)
    press(page, 0)
    cells = {CellKey(f"{n}.png", 3, f"bag {n}") for n in range(3)}
    assert selection_of(viewer).keys == cells
    assert selection_of(viewer).current == CellKey("2.png", 3, "bag 2")  # the one in the middle
    assert [layer.metadata["bag"] for layer in cell_layers(viewer.layers)] == ["bag 2"]
    assert chart.selected_rows().tolist() == [2, 7, 12]
    assert page.cells.rows.tolist() == [12, 7, 2]
    assert "q: 2 (20% of all), p: 1 (20% of all)." in page.detail.text()
    page.cells.grid.resize(300, 200)
    page.cells.grid.grab()
    qtbot.waitUntil(lambda: page.cells._tile(0).picture is not None, timeout=WAIT_MS)
    page.cells.grid._choose(1, Qt.KeyboardModifier.NoModifier)
    assert selection_of(viewer).keys == {CellKey("1.png", 3, "bag 1")}


def test_the_nearest_class_of_a_cluster_is_seen_in_a_narrow_dock(found: ExplorePanel) -> None:
    page = found.clusters
    page.model.show(page.model.table.assign(n_cells=1069, nearest_class="thal_like"))
    found.setStyleSheet(get_stylesheet("dark"))  # which has wider margins
    found.resize(300, 740)
    found.show()
    QCoreApplication.processEvents()
    page.view.resizeColumnsToContents()
    nearest = list(page.model.table.columns).index("nearest_class")
    assert page.view.model().index(0, nearest).data() == "thalassaemia-like"
    right = page.view.columnViewportPosition(nearest) + page.view.columnWidth(nearest)
    assert right <= page.view.viewport().width()


def test_no_part_lies_over_another_in_a_low_dock(found: ExplorePanel) -> None:
    page = found.clusters
    found.setStyleSheet(get_stylesheet("dark"))
    found.resize(300, 600)
    found.show()
    page.model.show(pd.concat([page.model.table] * 4, ignore_index=True))
    fit_height(page.view, 6)
    page.detail.setText("Cells of patient 171: 36 (27% of all), 175: 36 (28% of all), " * 2)
    QCoreApplication.processEvents()
    parts = (page.job, page.view, page.detail, page.cells, page.name, page.naming)
    for upper, lower in pairwise(part.geometry() for part in parts):
        assert upper.bottom() < lower.top()


def test_loose_images_are_no_patients(found: ExplorePanel) -> None:
    assert knows_patients(pd.DataFrame({"bag": ["a"], "patient": ["p"]}))
    assert not knows_patients(pd.DataFrame({"bag": ["a.png"], "patient": ["a.png"]}))
    clusters = found.clusters._clusters
    assert clusters.patients_in_words(1, who="sample").startswith("Cells of sample ")


def test_the_abnormal_share_and_the_caveat_of_a_sample_follow_its_verdict() -> None:
    bags = pd.DataFrame({"n_cells": [3], "caveat": ["Blurred."], "diameter_px": [70.0], "bag": ["a"]})
    bags = bags.assign(label="control", verdict="abstain", abnormal_share=0.2)
    names = ["bag", "verdict", "abnormal_share", "caveat", "label", "diameter_px", "n_cells"]
    assert grouped(bags, None).columns.tolist() == names


def test_clusters_of_other_cells_are_not_shown(
    found: ExplorePanel, scored: Path, viewer: ViewerModel, done: Done
) -> None:
    changed = open_results_of(viewer).changed
    done(changed, lambda: found.open_folder(str(scored)))
    assert column(found.clusters, "cluster") == ["1", "2"]  # they are kept with the project
    path = scored / "exploration" / "cells.csv"
    cells = pd.read_csv(path)
    cells.loc[3, "cell_id"] = 99
    cells.to_csv(path, index=False)
    done(changed, lambda: found.open_folder(str(scored)))
    assert found.clusters.view.isHidden()


def test_a_cluster_gets_a_name(found: ExplorePanel, done: Done) -> None:
    page = found.clusters
    page.name_cluster()
    assert "write a name" in page.naming.notice.text()
    press(page, 1)
    page.name.setText("burr cells")
    done(page.naming.finished, page.naming.button.click)
    assert "'burr cells'" in page.naming.notice.text()
    assert "Train a model" in page.naming.notice.text()
    assert column(page, "candidate") == ["-", "burr cells"]
    assert page.chosen() == 2


def test_the_most_novel_come_first(full: ExplorePanel, viewer: ViewerModel) -> None:
    page = full.novelty
    full.pages.setCurrentWidget(page)
    assert column(page, "bag") == ["bag 2", "bag 1", "bag 0"]
    anomaly = open_results_of(viewer).project.cells["anomaly"].to_numpy()
    assert anomaly[page.cells.rows].tolist() == [23, 13, 3, 2, 2, 2, 1, 1, 1, 1, 1, 1]
    press(page, 1)
    assert page.cells.rows.tolist() == [7, 6, 5, 8]
    assert selection_of(viewer).current == CellKey("1.png", 3, "bag 1")


def test_two_groups_are_compared(full: ExplorePanel, done: Done, tmp_path: Path) -> None:
    page = full.compare
    assert page.by.currentText() == "Label"
    assert [page.first.currentText(), page.second.currentText()] == ["control", "ill"]
    done(page.job.finished, page.job.button.click)
    assert column(page, "statistic") == ["Distance from control"]
    assert column(page, "cliffs_delta") == ["1"]
    assert page.note.text().startswith("1: control and 2: ill; patients are compared between the groups.")
    page.second.setCurrentText("control")
    page.run()
    assert "two different groups" in page.job.notice.text()
    page.by.setCurrentText("a table of mine")
    page.run()
    assert "Choose the table" in page.job.notice.text()


def test_distributions_have_a_row_per_group_a_band_and_are_saved(
    full: ExplorePanel, viewer: ViewerModel, tmp_path: Path
) -> None:
    page = full.distributions
    full.pages.setCurrentWidget(page)
    page.score.setCurrentIndex(page.score.findData("anomaly"))
    assert page.shown.names == ("control", "ill", "unknown")
    assert page.shown.counts == (4, 4, 4)  # the unscored cells are left out
    assert page.shown.medians == (1.5, 1.5, 1.5)
    assert page.shown.band == pytest.approx(np.percentile([1, 2, 3, 1], [5, 95]))
    assert all(share.sum() == pytest.approx(1) for share in page.shown.shares)
    page.canvas.resize(300, 300)
    page.canvas.draw()
    middle = page._axes[1].transAxes.transform((0.5, 0.5))
    page.canvas.callbacks.process(
        "button_press_event", MouseEvent("button_press_event", page.canvas, *middle, button=1)
    )
    assert selection_of(viewer).keys == {CellKey("1.png", n, "bag 1") for n in range(1, 6)}
    page.by.setCurrentText("Patient")
    assert page.shown.names == ("q", "p")
    for name in ("d.png", "d.svg"):
        page.save_figure(str(tmp_path / name))
    assert PillowImage.open(tmp_path / "d.png").getpixel((2, 2))[:3] == (255, 255, 255)
    assert "<svg" in (tmp_path / "d.svg").read_text(encoding="utf-8")
    page.save_figure(str(tmp_path / "d.xyz"))
    assert "cannot be written" in page.note.text()


def test_candidates_of_the_project_file_are_shown(
    found: ExplorePanel, scored: Path, viewer: ViewerModel, done: Done
) -> None:
    note_in_card(scored, candidates={"targets": {"cluster": 1, "n_cells": 3, "n_bags": 1}})
    done(open_results_of(viewer).changed, lambda: found.open_folder(str(scored)))
    assert column(found.clusters, "candidate") == ["targets", "-"]
