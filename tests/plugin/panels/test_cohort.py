from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.qt import get_stylesheet
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, Qt
from qtpy.QtGui import QDesktopServices

from napari_amil.core.base.types import box_outline
from napari_amil.plugin.cohorts.bag_table import grouped
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels import cohort
from napari_amil.plugin.panels.cohort import CohortPanel
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import Reported

Done = Callable[..., Any]


class Forgetful:
    """Settings that last as long as one test."""

    kept: dict[str, str]

    def __init__(self, *_: str) -> None: ...

    def value(self, name: str, default: str) -> str:
        return self.kept.get(name, default)

    def setValue(self, name: str, value: str) -> None:  # noqa: N802
        self.kept[name] = value


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    Forgetful.kept = {}
    monkeypatch.setattr(cohort, "QSettings", Forgetful)
    return Forgetful.kept


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> CohortPanel:
    panel = CohortPanel(viewer, worker)
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def full(panel: CohortPanel, scored: Path, done: Done) -> CohortPanel:
    panel.results.setText(str(scored))
    done(panel.opened, panel.reopen.click)
    return panel


def column(panel: CohortPanel, name: str) -> list[str]:
    place = list(panel.bags.table.columns).index(name)
    return [panel.rows.index(row, place).data() for row in range(panel.rows.rowCount())]


def test_results_open_with_one_row_per_sample(full: CohortPanel) -> None:
    assert full.summary.text().startswith("3 samples of 2 patients, 15 cells; 1 unlike anything seen.")
    assert column(full, "bag") == ["bag 0", "bag 1", "bag 2"]
    assert column(full, "label") == ["control", "ill", "-"]
    assert not full.view.isHidden()
    for section in range(full.bags.columnCount()):
        for role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            assert full.bags.headerData(section, Qt.Orientation.Horizontal, role)


def test_sample_verdict_and_abnormal_share_are_seen_in_a_narrow_dock(full: CohortPanel) -> None:
    table = full.bags.table.assign(verdict="unlike anything seen", abnormal_share=0.123, caveat="Blurred.")
    full.bags.show(grouped(table.assign(bag=[f"patient {n} of the ward, day 3" for n in range(3)]), None))
    full.setStyleSheet(get_stylesheet("dark"))  # which has wider margins
    full.resize(300, 740)
    full.show()
    QCoreApplication.processEvents()
    full.view.resizeColumnsToContents()
    share = list(full.bags.table.columns).index("abnormal_share")
    right = full.view.columnViewportPosition(share) + full.view.columnWidth(share)
    assert right <= full.view.viewport().width()
    assert full.rows.index(0, 1).data(Qt.ItemDataRole.ToolTipRole).endswith("\nBlurred.")


def test_columns_in_which_nothing_is_known_are_not_shown(full: CohortPanel) -> None:
    bags = full.bags.table.assign(label=None, predicted="")
    assert set(full.bags.table.columns) - set(grouped(bags, None).columns) == {"label", "predicted"}


def test_rows_sort_by_value_and_filter_by_text(full: CohortPanel) -> None:
    place = list(full.bags.table.columns).index("anomaly_p95")
    full.view.sortByColumn(place, Qt.SortOrder.DescendingOrder)
    assert column(full, "anomaly_p95") == ["10", "9", "2"]  # as text 9 would come first
    full.filter.setText("UNLIKE")
    assert column(full, "bag") == ["bag 2"]


def test_groups_have_means_and_lead_to_their_samples(full: CohortPanel) -> None:
    full.group.setCurrentText("By patient")
    assert column(full, "patient") == ["p", "q"]
    assert column(full, "n_bags") == ["1", "2"]
    assert column(full, "share_q05") == ["0", "0.2"]
    assert column(full, "novel") == ["0", "0.5"]
    full.view.clicked.emit(full.rows.index(1, 0))
    assert full.group.currentIndex() == 0
    assert column(full, "bag") == ["bag 1", "bag 2"]
    assert grouped(full.bags.table, "label")["label"].tolist() == ["control", "ill", "none"]


def test_a_click_shows_the_most_telling_cell(full: CohortPanel, viewer: ViewerModel) -> None:
    full.view.clicked.emit(full.rows.index(1, 0))
    (layer,) = cell_layers(viewer.layers)
    assert record_of(layer).image_name == "1.png"
    assert layer.features["anomaly"].tolist()[:4] == [1, 2, 13, 1]
    assert layer.features["status"].tolist() == ["scored"] * 4 + ["unscored"]
    assert selection_of(viewer).current == CellKey("1.png", 3, "bag 1")
    assert layer.selected_data == {2}
    assert record_of(layer).scale.style.kind == "tinted"
    assert np.allclose(viewer.scene.camera.center[-2:], (79.5, 49.5), atol=1)
    full.view.activated.emit(full.rows.index(2, 0))
    names = [layer.name for layer in viewer.layers]
    assert names == ["2.png", "cells of 2"]


def test_samples_with_chosen_cells_are_bold(full: CohortPanel, viewer: ViewerModel) -> None:
    def bold() -> list[bool]:
        fonts = [full.rows.index(row, 0).data(Qt.ItemDataRole.FontRole) for row in range(3)]
        return [font is not None and font.bold() for font in fonts]

    keys = [CellKey("0.png", 1, "bag 0"), CellKey("0.png", 2, "bag 0"), CellKey("2.png", 1, "bag 2")]
    selection_of(viewer).choose(keys)
    assert bold() == [True, False, True]
    assert full.chosen.text().startswith("3 selected cells lie in 2 samples")
    selection_of(viewer).choose([])
    assert bold() == [False] * 3
    assert full.chosen.isHidden()


def test_mere_boxes_are_not_tinted_so_that_the_cells_are_seen(full: CohortPanel, viewer: ViewerModel) -> None:
    state = open_results_of(viewer)
    boxes = state.project.cells[["y0", "x0", "y1", "x1"]].to_numpy(np.float32)
    project = replace(state.project, outlines=tuple(box_outline(box) for box in boxes))
    state.opened = replace(state.opened, project=project)
    full.view.clicked.emit(full.rows.index(1, 0))
    (layer,) = cell_layers(viewer.layers)
    assert record_of(layer).scale.style.kind == "outline"


def test_what_the_user_changed_stays_open(full: CohortPanel, viewer: ViewerModel) -> None:
    full.view.clicked.emit(full.rows.index(0, 0))
    cell_layers(viewer.layers)[0].remove([0])
    full.view.clicked.emit(full.rows.index(1, 0))
    assert len([layer for layer in viewer.layers if isinstance(layer, Image)]) == 2


def test_what_is_missing_is_said(panel: CohortPanel, scored: Path, tmp_path: Path, done: Done) -> None:
    for action, said in (
        (panel.run, "Choose a folder with smears"),
        (panel.open_results, "Choose the folder"),
    ):
        action()
        assert said in panel.job.notice.text()
    panel.source.setText(str(tmp_path / "absent"))
    panel.run()
    assert "absent" in panel.job.notice.text()
    panel.results.setText(str(tmp_path))
    assert "no scored folder" in done(panel.errored, panel.open_results)
    assert "No results are open" in panel.summary.text()
    panel.results.setText(str(scored))
    done(panel.opened, panel.open_results)
    (tmp_path / "0.png").unlink()
    panel.view.clicked.emit(panel.rows.index(0, 0))
    assert "0.png' cannot be opened" in panel.job.notice.text()


def test_a_folder_is_scored_in_the_background(
    panel: CohortPanel, scored: Path, tmp_path: Path, done: Done, settings: dict[str, str]
) -> None:
    (tmp_path / "smears").mkdir()
    panel._take_source(str(tmp_path / "smears"))
    assert panel.results.text() == str(tmp_path / "smears-scored")
    shutil.copytree(scored, tmp_path / "smears-scored")
    done(panel.opened, panel.job.button.click)
    assert column(panel, "bag") == ["bag 0", "bag 1", "bag 2"]
    assert settings == {"source": str(tmp_path / "smears"), "results": str(tmp_path / "smears-scored")}


def test_cancel_says_that_what_is_done_is_kept(
    panel: CohortPanel, tmp_path: Path, qtbot: QtBot, worker: Worker
) -> None:
    panel.source.setText(str(tmp_path))
    panel.run()
    assert panel.job.is_running
    panel.job.button.click()
    assert not panel.job.is_running
    assert "what was scored is kept" in panel.job.notice.text()
    qtbot.waitUntil(lambda: worker.is_ready, timeout=60_000)


def test_the_report_of_the_open_results_is_written_and_opened(
    panel: CohortPanel, scored: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    assert panel.report.isHidden()
    panel.results.setText(str(scored))
    done(panel.opened, panel.reopen.click)
    assert not panel.report.isHidden()
    assert panel.report.browse.isHidden()
    panel.report.finished.emit(Reported(page=scored.parent / "other/report/cohort.html", n_samples=1))
    assert panel.report.browse.isHidden()  # it is of results that are no longer open
    panel.report.run()
    panel.report.cancel()
    assert panel.report.notice.text() == "Cancelled; the pages that are written stay."
    done(panel.report.finished, panel.report.button.click)
    page = scored / "report" / "cohort.html"
    assert str(page) in panel.report.notice.text()
    panel.report.browse.click()
    assert opened == [str(page)]
    done(panel.opened, panel.reopen.click)
    assert not panel.report.browse.isHidden()
    assert panel.report.notice.text() == ""


def test_every_panel_of_a_viewer_sees_the_same_results(
    full: CohortPanel, qtbot: QtBot, viewer: ViewerModel, worker: Worker
) -> None:
    second = CohortPanel(viewer, worker)
    qtbot.addWidget(second)
    assert column(second, "bag") == ["bag 0", "bag 1", "bag 2"]
    assert open_results_of(viewer) is not open_results_of(ViewerModel())
