"""Loose images become a folder cohort; the originals stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Step, drain
from napari_amil.core.cohort.arrange import Placed, arranging
from napari_amil.core.cohort.layouts.registry import read_cohort


@pytest.fixture
def loose(tmp_path: Path) -> list[Path]:
    """Three images, two of which have one name."""
    places = [tmp_path / "monday" / "1.png", tmp_path / "tuesday" / "1.png", tmp_path / "tuesday" / "2.png"]
    for number, path in enumerate(places):
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(np.full((64, 64, 3), number, np.uint8)).save(path)
    return places


def test_images_are_copied_to_class_patient_and_sample(loose: list[Path], tmp_path: Path) -> None:
    before = [path.read_bytes() for path in loose]
    images = [
        Placed(loose[0], "control", "p1"),
        Placed(loose[1], "control", "p1"),
        Placed(loose[2], "ill", "p2", "first"),
    ]
    steps: list[object] = []
    out = drain(arranging(images, tmp_path / "cohort"), steps.append)
    cohort = read_cohort(out)
    assert {bag.bag: set(bag.images) for bag in cohort} == {
        "control/p1": {"control/p1/1.png", "control/p1/1-2.png"},
        "ill/p2/first": {"ill/p2/first/2.png"},
    }
    table = pd.read_csv(out / "images.csv", keep_default_na=False)
    for row, path, content in zip(table.itertuples(), loose, before, strict=True):
        assert row.original == str(path)
        assert path.read_bytes() == (out / row.image).read_bytes() == content
    assert steps[-1] == Step("arrange", 3, 3)


@pytest.mark.parametrize(
    ("label", "patient", "sentence"),
    [("", "p1", "has no class"), ("ill", " ", "has no patient"), ("a/b", "p", "cannot be a folder's name")],
)
def test_names_that_cannot_be_folders_are_refused(
    loose: list[Path], tmp_path: Path, label: str, patient: str, sentence: str
) -> None:
    images = [Placed(loose[0], "control", "p0"), Placed(loose[1], label, patient)]
    with pytest.raises(CohortError, match=sentence):
        drain(arranging(images, tmp_path / "cohort"))
    assert not (tmp_path / "cohort").exists()


def test_one_class_and_a_full_folder_are_refused(loose: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="at least one other class"):
        drain(arranging([Placed(loose[0], "control", "p0")], tmp_path / "cohort"))
    with pytest.raises(CohortError, match="not an empty folder"):
        drain(arranging([Placed(loose[0], "control", "p0")], loose[0].parent))


def test_an_image_that_vanished_leaves_nothing_behind(loose: list[Path], tmp_path: Path) -> None:
    loose[1].unlink()
    images = [Placed(loose[0], "control", "p0"), Placed(loose[1], "ill", "p1")]
    with pytest.raises(CohortError, match=r"1\.png"):
        drain(arranging(images, tmp_path / "cohort"))
    assert not (tmp_path / "cohort").exists()
