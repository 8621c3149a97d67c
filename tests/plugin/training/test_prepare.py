"""The parts of the page before a training: path, preview, problems and choices."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.training.cohort_check import CohortPreview, ProblemList
from napari_amil.plugin.training.prepare import PreparePage
from napari_amil.plugin.training.run_commands import NetworksCommand, TrainingCommand, check_arguments
from napari_amil.plugin.training.training_form import TrainingForm
from napari_amil.plugin.window.path_choice import PathChoice
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import CohortChecked, CohortRead, Problem

WARNING = Problem(severity="warning", message="There are 40 control cells.", kind="few-cells")
ERROR = Problem(severity="error", message="Patient 'p1' is in two folds.", kind="leaking-patients")


@pytest.fixture
def bags() -> pd.DataFrame:
    rows = [
        ("healthy/p1/a", "healthy/p1", "healthy", 0, 1, 20, 2),
        ("healthy/p1/b", "healthy/p1", "healthy", 0, 2, 30, 2),
        ("ill/p2", "ill/p2", "ill", 1, 1, 25, 0),
    ]
    return pd.DataFrame(rows, columns=["bag", "patient", "label", "fold", "images", "cells", "clinical"])


@pytest.fixture
def page(qtbot: QtBot, worker: Worker) -> PreparePage:
    page = PreparePage(worker)
    qtbot.addWidget(page)
    return page


def test_a_dropped_folder_is_the_path(qtbot: QtBot, tmp_path: Path) -> None:
    choice = PathChoice("Choose a cohort", "drop a folder")
    qtbot.addWidget(choice)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    event = QDropEvent(
        QPointF(1, 1),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    with qtbot.waitSignal(choice.changed):
        choice.dropEvent(event)
    assert choice.value() == tmp_path
    choice.setValue(None)
    assert choice.value() is None


def test_the_tree_counts_classes_patients_bags_and_folds(qtbot: QtBot, bags: pd.DataFrame) -> None:
    preview = CohortPreview()
    qtbot.addWidget(preview)
    preview.show_cohort(bags, "healthy", ["age"])
    rows = [preview.tree.topLevelItem(i) for i in range(preview.tree.topLevelItemCount())]
    texts = [[row.text(column) for column in range(5)] for row in rows]
    assert texts == [
        ["healthy (control)", "1", "2", "3", "50"],
        ["ill", "1", "1", "1", "25"],
        ["Fold 0", "1", "2", "3", "50"],
        ["Fold 1", "1", "1", "1", "25"],
    ]
    patient = rows[0].child(0)
    assert (patient.text(0), patient.text(2), patient.text(4)) == ("p1", "2", "50")
    assert [patient.child(i).text(0) for i in range(2)] == ["a", "b"]
    assert preview.sums.text().endswith("Clinical table: age, for 2 of the bags.")


def test_cells_that_are_to_be_found_have_no_number(qtbot: QtBot, bags: pd.DataFrame) -> None:
    preview = CohortPreview()
    qtbot.addWidget(preview)
    preview.show_cohort(bags.assign(cells=pd.NA), "healthy", [])
    assert preview.tree.topLevelItem(0).text(4) == "…"
    assert [preview.tree.isColumnHidden(column) for column in range(5)] == [False] * 4 + [True]
    assert "found by the detector" in preview.sums.text()
    preview.show_cohort(bags.assign(images=1), "healthy", [])
    assert [preview.tree.isColumnHidden(column) for column in range(5)] == [False] * 3 + [True, False]


def test_a_grave_problem_refuses_until_it_is_accepted(qtbot: QtBot) -> None:
    problems = ProblemList()
    qtbot.addWidget(problems)
    problems.show_problems([ERROR, ERROR.model_copy(update={"message": "Patient 'p2' too."}), WARNING])
    assert problems.texts == [ERROR.message, "Patient 'p2' too.", WARNING.message]
    assert problems.refused() == ["leaking-patients"]
    with qtbot.waitSignal(problems.changed):
        problems._boxes["leaking-patients"].click()
    assert problems.refused() == []
    assert problems.allowed() == ("leaking-patients",)
    problems.show_problems([ERROR] * 14 + [ERROR.model_copy(update={"kind": "mixed-labels"})])
    assert "3 more" in problems.texts[-1]
    assert problems.refused() == ["mixed-labels"]
    assert problems.allowed() == ("leaking-patients",)
    problems.show_problems([])
    assert problems.texts[0].startswith("No problem was found")
    assert problems.allowed() == ()


def test_the_form_gives_back_every_setting_of_a_preset(qtbot: QtBot) -> None:
    form = TrainingForm()
    qtbot.addWidget(form)
    code = RunSettings().changed(
        {
            "preset": "amil-code",
            "bag_level": "patient",
            "training": {"max_gradient": None, "max_epochs": 300, "learning_rate": 5e-5, "optimiser": "adam"},
            "model": {"encoder": "roi", "bag_head": [10], "roundness": 0.0},
        }
    )
    form.offer({"recommended": RunSettings(), "amil-code": code}, {"cpu": "Processor"})
    assert form.value() == RunSettings(preset="recommended")
    with qtbot.waitSignal(form.changed):
        form._preset.setCurrentIndex(1)
    assert form.value() == code
    form.training.editor("max_epochs").setValue(7)  # type: ignore[attr-defined]
    assert form.value() == code.changed({"training": {"max_epochs": 7}})
    form.set_device("cpu")
    assert form.device() == "cpu"


def test_the_folds_of_the_cohort_are_offered_for_the_test(qtbot: QtBot) -> None:
    form = TrainingForm()
    qtbot.addWidget(form)
    form.set_test("folds", 5)
    assert (form.n_folds(), form.hold_out_fold()) == (5, None)
    form.offer_folds([0, 1, 4], {})
    assert (form.n_folds(), form.hold_out_fold()) == (None, 0)
    form.set_test("none", 0)
    form.offer_folds([0, 1, 4], {})
    assert (form.n_folds(), form.hold_out_fold()) == (None, None)
    form.set_test("fold", 4)
    assert (form.n_folds(), form.hold_out_fold()) == (None, 4)
    form.offer_folds([0, 1, 4], {})
    assert form.hold_out_fold() == 4


def test_a_model_is_tested_on_one_fold_unless_another_test_was_chosen(qtbot: QtBot) -> None:
    form = TrainingForm()
    qtbot.addWidget(form)
    assert form.hold_out_fold() is None
    form.offer_folds([2, 3], {"ill": 9, "healthy": 2})
    assert (form.n_folds(), form.hold_out_fold()) == (None, 2)
    form.offer_folds([], {"ill": 9, "healthy": 3})
    assert (form.n_folds(), form.hold_out_fold()) == (3, 0)
    assert not form.why_no_test.text()
    form.offer_folds([], {"ill": 9, "healthy": 2})
    assert (form.n_folds(), form.hold_out_fold()) == (None, None)
    assert "class healthy has 2 patients only" in form.why_no_test.text()


def _read(page: PreparePage, bags: pd.DataFrame, tmp_path: Path, control: str | None = "healthy") -> None:
    bags.to_csv(tmp_path / "bags.csv", index=False)
    page.cohort.line.setText(str(tmp_path / "smears"))
    page._on_read(CohortRead(classes=("healthy", "ill"), control=control, bags=tmp_path / "bags.csv"))


def test_nothing_starts_without_a_cohort_controls_and_a_folder(
    page: PreparePage, bags: pd.DataFrame, tmp_path: Path
) -> None:
    assert "Choose or drop a cohort" in page.why.text()
    _read(page, bags, tmp_path, control=None)
    assert not page.start.isEnabled()
    assert "choose the control class above" in page.problems.texts[0]
    assert page.control.currentIndex() == -1
    _read(page, bags, tmp_path)
    assert page.why.text() == "Name a new folder for the run."
    page.out.setValue(tmp_path / "run")
    assert page.start.isEnabled()
    assert page.plan().settings.control == "healthy"
    assert not page.detector.isEnabled()


def test_a_grave_problem_keeps_the_training_from_starting(
    page: PreparePage, bags: pd.DataFrame, tmp_path: Path, qtbot: QtBot
) -> None:
    _read(page, bags, tmp_path)
    page.out.setValue(tmp_path / "run")
    page._on_checked(CohortChecked(problems=(ERROR,)))
    assert not page.start.isEnabled()
    assert "marked red" in page.why.text()
    page.problems._boxes["leaking-patients"].click()
    with qtbot.waitSignal(page.wanted) as blocker:
        page.start.click()
    assert blocker.args[0].allow == ("leaking-patients",)


def test_what_was_passed_over_is_shown_and_what_cannot_be_learned_from_is_refused(
    page: PreparePage, bags: pd.DataFrame, tmp_path: Path
) -> None:
    bags.to_csv(tmp_path / "bags.csv", index=False)
    page.cohort.line.setText(str(tmp_path / "smears"))
    page.out.setValue(tmp_path / "run")
    read = CohortRead(
        classes=("healthy", "ill"),
        control="healthy",
        bags=tmp_path / "bags.csv",
        notes=("2 files skipped: xml",),
        unsupported="An encoder of cell images is missing.",
    )
    page._on_read(read)
    assert page.preview.sums.text().endswith(" Note: 2 files skipped: xml.")
    assert (page.why.text(), page.start.isEnabled()) == ("An encoder of cell images is missing.", False)


def test_networks_that_redraw_cells_are_offered_beside_a_model(
    page: PreparePage, bags: pd.DataFrame, tmp_path: Path
) -> None:
    _read(page, bags, tmp_path)
    page.out.setValue(tmp_path / "run")
    page.what.setCurrentIndex(1)
    assert page.form.isHidden()
    assert not page.networks.isHidden()
    assert page.whose.text() == "Added to"
    page.networks.boxes["ra"].setChecked(True)
    page.networks.steps.setValue(7)
    plan = page.plan()
    assert isinstance(plan, NetworksCommand)
    given = plan.arguments()
    assert given[:4] == ["train-anomaly", str(tmp_path / "smears"), "--out", str(tmp_path / "run")]
    assert given[4:10] == ["--model", "memae,ra", "--control", "healthy", "--steps", "7"]
    check_arguments(given, plan.out)
    for box in page.networks.boxes.values():
        box.setChecked(False)
    assert page.why.text() == "Tick a network."
    page.what.setCurrentIndex(0)
    assert isinstance(page.plan(), TrainingCommand)
