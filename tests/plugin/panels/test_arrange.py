"""Images are sorted by dragging into class, patient and sample, and copied as they lie in the tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QTreeWidgetItem

from napari_amil.plugin.panels.arrange import ArrangePanel
from napari_amil.plugin.training.image_tree import CLASS, PATIENT, ImageTree
from napari_amil.plugin.window.work import Worker

Done = Callable[..., Any]


@pytest.fixture
def smears(tmp_path: Path) -> Path:
    """Two classes of folders, and one image that lies loose."""
    for name in ("healthy/anna/1.png", "healthy/anna/2.png", "ill/ben/monday/1.tif", "loose/x.JPG"):
        path = tmp_path / "smears" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
    (tmp_path / "smears" / "healthy" / "notes.txt").write_text("no image")
    return tmp_path / "smears"


@pytest.fixture
def panel(qtbot: QtBot, viewer: ViewerModel, worker: Worker, tmp_path: Path) -> ArrangePanel:
    panel = ArrangePanel(viewer, worker)
    panel.out.setValue(tmp_path / "cohort")
    qtbot.addWidget(panel)
    return panel


def item(tree: ImageTree, *names: str) -> QTreeWidgetItem:
    """Return the item below these names."""
    at = tree.invisibleRootItem()
    for name in names:
        at = next(at.child(i) for i in range(at.childCount()) if at.child(i).text(0) == name)
    return at


def places(tree: ImageTree) -> dict[str, tuple[str, ...]]:
    return {Path(path).name: names for path, *rest in tree.placed() for names in [tuple(rest)]}


def test_folders_become_classes_patients_and_samples(panel: ArrangePanel, smears: Path) -> None:
    tree = panel.tree
    assert tree.add_paths([smears / "healthy", smears / "ill"]) == 3
    assert tree.placed() == [
        (str(smears / "healthy/anna/1.png"), "healthy", "anna", ""),
        (str(smears / "healthy/anna/2.png"), "healthy", "anna", ""),
        (str(smears / "ill/ben/monday/1.tif"), "ill", "ben", "monday"),
    ]
    assert item(tree, "healthy").text(1) == "2"
    assert panel.sums.text() == "3 images of 2 patients in 2 classes."
    assert tree.add_paths([smears / "healthy"]) == 0


def test_the_cohort_is_named_after_what_holds_all_images(panel: ArrangePanel, smears: Path) -> None:
    panel.out.setValue(None)
    panel.tree.add_paths([smears / "healthy", smears / "ill"])
    assert panel.out.value() == Path.home() / "cohorts" / "smears-1"


def test_what_is_dropped_on_a_group_becomes_part_of_it(panel: ArrangePanel, smears: Path) -> None:
    tree = panel.tree
    tree.add_paths([smears / "healthy"])
    tree.add_paths([smears / "ill" / "ben"], item(tree, "healthy"))
    tree.add_paths([smears / "loose" / "x.JPG"], item(tree, "healthy", "anna"))
    found = {path.removeprefix(str(smears)): names for path, *names in tree.placed()}
    assert found["/ill/ben/monday/1.tif"] == ["healthy", "ben", "monday"]
    assert found["/loose/x.JPG"] == ["healthy", "anna", ""]


def test_an_image_is_dragged_to_another_patient_and_a_patient_to_another_class(
    panel: ArrangePanel, smears: Path
) -> None:
    tree = panel.tree
    tree.add_paths([smears / "healthy", smears / "ill"])
    tree.move_items([item(tree, "healthy", "anna", "2.png")], item(tree, "ill", "ben"))
    assert places(tree)["2.png"] == ("ill", "ben", "")
    assert "several classes" not in panel.sums.text()
    tree.move_items([item(tree, "ill", "ben")], item(tree, "healthy"))
    assert {path.rsplit("/", 1)[-1]: names for path, *names in tree.placed()} == {
        "1.png": ["healthy", "anna", ""],
        "1.tif": ["healthy", "ben", "monday"],
        "2.png": ["healthy", "ben", ""],
    }
    (smears / "third" / "ben").mkdir(parents=True)
    (smears / "third" / "ben" / "9.png").write_bytes(b"image")
    tree.add_paths([smears / "third"])
    assert panel.sums.text().endswith(
        "'ben' stands in several classes and counts as another patient in each."
    )


def test_groups_are_added_renamed_and_removed(panel: ArrangePanel, smears: Path) -> None:
    tree = panel.tree
    panel.add_patient.click()
    assert "Choose the class" in panel.job.notice.text()
    group = tree.add_group(CLASS)
    assert group is not None
    group.setText(0, "controls")
    patient = tree.add_group(PATIENT)
    tree.add_paths([smears / "loose" / "x.JPG"], patient)
    assert [tuple(names) for _, *names in tree.placed()] == [("controls", "patient 1", "")]
    tree.setCurrentItem(patient)
    panel.remove.click()
    assert tree.placed() == []
    assert (smears / "loose" / "x.JPG").exists()
    assert not panel.job.button.isEnabled()


def test_the_images_are_sent_as_they_lie_in_the_tree(
    panel: ArrangePanel, smears: Path, tmp_path: Path, done: Done
) -> None:
    panel.tree.add_paths([smears / "healthy", smears / "ill"])
    assert done(panel.arranged, panel.job.button.click) == str(tmp_path / "cohort")
    sent = (tmp_path / "cohort.json").read_text()
    assert sent.count('"healthy", "anna"') == 2
    assert panel.train.isVisibleTo(panel)
    panel.use()
    assert "Open the panel first: Plugins, AMIL blood smears, Train a model." in panel.job.notice.text()
