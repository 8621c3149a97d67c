"""Whoever a control sample is of, it is found in any of the usual layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.cohort.control_folder import read_controls


def images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(root / name)
    return root


def found(root: Path, control: str = "control") -> list[tuple[str, str, int]]:
    cohort = read_controls(root, control)
    assert {bag.label for bag in cohort} == {control}
    return [(bag.bag, bag.patient, len(bag.images)) for bag in cohort]


def test_patients_and_samples(tmp_path: Path) -> None:
    images(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    assert found(tmp_path) == [("a", "a", 2), ("b", "b", 1)]
    deep = images(tmp_path / "deep", "a/s1/1.png", "a/s2/1.png", "b/s1/1.png")
    assert found(deep) == [("a/s1", "a", 1), ("a/s2", "a", 1), ("b/s1", "b", 1)]


def test_of_classes_the_controls_alone_are_taken(tmp_path: Path) -> None:
    images(tmp_path, "control/a/1.png", "control/b/s/1.png", "ill/c/1.png")
    assert found(tmp_path) == [("a", "a", 1), ("b/s", "b", 1)]
    loose = images(tmp_path / "loose", "healthy/1.png", "healthy/2.png", "ill/1.png")
    assert found(loose, "healthy") == [("healthy/1.png", "healthy/1.png", 1), ("healthy/2.png",) * 2 + (1,)]


def test_of_loose_images_each_is_a_patient(tmp_path: Path) -> None:
    images(tmp_path, "1.png", "2.png")
    assert found(tmp_path) == [("1.png", "1.png", 1), ("2.png", "2.png", 1)]


def test_of_a_cell_list_the_controls_alone_are_taken(tmp_path: Path) -> None:
    listed = tmp_path / "cells.csv"
    listed.write_text(
        "bag,patient,label,image,y0,x0,y1,x1\n"
        "1,a,control,i.png,0,0,9,9\n2,b,ill,i.png,0,0,9,9\n3,c,control,j.png,0,0,9,9\n"
    )
    assert found(listed) == [("1", "a", 1), ("3", "c", 1)]


def test_of_a_cell_list_the_bags_that_are_a_reference_are_taken(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    listed = tmp_path / "cells.csv"
    listed.write_text(
        "bag,patient,label,image,y0,x0,y1,x1,control_reference\n"
        "a,a,control,a.png,1,1,20,20,1\nb,b,control,b.png,1,1,20,20,0\n"
    )
    assert found(listed) == [("a", "a", 1)]


def test_mixed_depths_are_refused(tmp_path: Path) -> None:
    images(tmp_path, "1.png", "a/1.png")
    with pytest.raises(CohortError, match="different depths"):
        read_controls(tmp_path, "control")
