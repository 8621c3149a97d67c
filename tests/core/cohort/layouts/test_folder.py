"""Folder cohorts become bags; stray files never regroup them."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.cohort.layouts.registry import describe_cohort, layout_of, read_cohort
from napari_amil.core.instances.sources import open_source

HEADER = "bag,patient,label,image,y0,x0,y1,x1"


def write_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (40, 40)).save(root / name)
    return root


def test_a_folder_cohort(tmp_path: Path) -> None:
    names = ["control/1/a10.png", "control/1/a2.png", "sick/1/s1/x.png", "sick/1/s2/x.png", "sick/10/x.png"]
    cohort = read_cohort(write_folder(tmp_path, *names))
    assert [bag.bag for bag in cohort] == ["control/1", "sick/1/s1", "sick/1/s2", "sick/10"]
    assert [bag.patient for bag in cohort] == ["control/1", "sick/1", "sick/1", "sick/10"]
    assert cohort.bags[0].images == ("control/1/a2.png", "control/1/a10.png")
    assert cohort.bags[0].cells == {}
    assert cohort.root == str(tmp_path)


def test_an_empty_patient_is_an_empty_bag(tmp_path: Path) -> None:
    write_folder(tmp_path, "control/1/a.png")
    (tmp_path / "control" / "2").mkdir()
    assert [bag.images for bag in read_cohort(tmp_path)] == [("control/1/a.png",), ()]


@pytest.mark.parametrize("name", ["a.png", "control/a.png", "control/1/2/3/a.png"])
def test_a_folder_of_another_depth_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CohortError, match=r"folder\(s\) deep; move it to <root>/<class>/<patient>"):
        read_cohort(write_folder(tmp_path, name))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="holds no image; lay it out as"):
        read_cohort(tmp_path)


def test_stray_files_neither_regroup_nor_vanish_in_silence(tmp_path: Path) -> None:
    write_folder(tmp_path, "control/1/a.png", "control/2/a.png", "sick/3/a.png", "stray.png", "sick/b.png")
    for name in ("README", "sick/Thumbs.db", "control/1/notes.txt", ".hidden.txt"):
        (tmp_path / name).write_text("x")
    assert layout_of(tmp_path) == "folder"
    cohort = open_source([tmp_path], "control").cohort
    assert [(bag.bag, bag.label, bag.images) for bag in cohort] == [
        ("control/1", "control", ("control/1/a.png",)),
        ("control/2", "control", ("control/2/a.png",)),
        ("sick/3", "sick", ("sick/3/a.png",)),
    ]
    assert describe_cohort(cohort) == (
        "3 bags of 3 patients, labels from folders; images outside of patient folders skipped: 'sick/b.png' "
        "and 'stray.png'; 3 files skipped: db, no ending, txt"
    )


def test_loose_images_are_no_cohort(tmp_path: Path) -> None:
    write_folder(tmp_path, "a.png", "b.png", "x/y/c.png")
    assert layout_of(tmp_path) is None
    source = open_source([tmp_path], "control")
    assert describe_cohort(source.cohort) == "3 images, each a bag of its own, no labels"
    with pytest.raises(CohortError, match=r"'.*a.png' lies 0 folder\(s\) deep"):
        open_source([tmp_path], "control", "cohort")


def test_a_cohort_may_be_taken_for_loose_images(tmp_path: Path) -> None:
    write_folder(tmp_path, "control/1/a.png", "sick/1/a.png")
    loose = open_source([tmp_path], "control", "images").cohort
    assert [bag.bag for bag in loose] == ["control/1/a.png", "sick/1/a.png"]
    with pytest.raises(CohortError, match="one folder or table, not 2 inputs"):
        open_source([tmp_path, tmp_path], "control", "cohort")


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    write_folder(tmp_path / "store", "p4/a.png")
    root = write_folder(tmp_path / "cohort", "control/p1/a.png", "sick/p3/a.png")
    (root / "sick" / "p4").symlink_to(tmp_path / "store" / "p4")
    (root / "sick" / "p3" / "up").symlink_to(root)
    assert [bag.images for bag in read_cohort(root)] == [
        ("control/p1/a.png",),
        ("sick/p3/a.png",),
        ("sick/p4/a.png",),
    ]


def test_spellings_of_a_class_are_one_class(tmp_path: Path) -> None:
    names = ["Control/1", "CONTROL/2", "control/3", "Ma\u0308d/4", "M\u00e4d/5", "NA/6", "mäd /7"]
    cohort = read_cohort(write_folder(tmp_path, *(f"{name}/a.png" for name in names)))
    labels = {bag.bag: bag.label for bag in cohort}
    assert cohort.classes == ("control", "M\u00e4d")
    assert labels["Control/1"] == labels["CONTROL/2"] == labels["control/3"] == "control"
    assert labels["M\u00e4d/4"] == labels["M\u00e4d/5"] == "M\u00e4d"
    assert labels["NA/6"] is None
    assert cohort.notes[0] == "'CONTROL' and 'Control' read as the class 'control'"
    assert [bag.images[0] for bag in cohort if bag.bag == "M\u00e4d/4"] == ["Ma\u0308d/4/a.png"]


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "cohort", "control/p1/a.png", "sick/p3/a.png")
    write_folder(tmp_path / "store", "p4/a.png")
    (root / "sick" / "p4").write_text("../../store/p4")  # what a copy without links makes of one
    (root / "sick" / "p5").symlink_to(tmp_path / "absent")
    cohort = read_cohort(root)
    assert [bag.bag for bag in cohort] == ["control/p1", "sick/p3"]
    assert cohort.notes == ("links that lead nowhere: 'sick/p4' and 'sick/p5'",)
