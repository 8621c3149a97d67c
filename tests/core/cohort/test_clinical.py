"""Clinical and acquisition values are joined to bags."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.cohort.layouts.registry import read_cohort

HEADER = "bag,patient,label,image,y0,x0,y1,x1"


def write_list(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = folder / "cells.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def write_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (40, 40)).save(root / name)
    return root


def test_how_a_sample_was_taken_is_kept_apart(tmp_path: Path) -> None:
    path = write_list(tmp_path, "b,p,control,a.png,0,0,9,9,1,east", header=f"{HEADER},fold,Site")
    (tmp_path / "clinical.csv").write_text("patient,STAIN,AGE\np,MGG,61\n")
    (bag,) = read_cohort(path)
    assert (bag.acquisition, bag.clinical) == ({"site": "east", "stain": "MGG"}, {"AGE": 61.0})
    (tmp_path / "clinical.csv").write_text("patient,scanner\np,X1\n")
    assert read_cohort(path).bags[0].acquisition == {"site": "east", "scanner": "X1"}


def test_clinical_values_are_joined(tmp_path: Path) -> None:
    write_folder(tmp_path, "control/1/a.png", "sick/2/a.png", "sick/3/a.png")
    table = tmp_path / "clinical.csv"
    table.write_text("patient,AGE,GENDER\n1,61,F\nsick/2,44.5,\n")
    clinical = [bag.clinical for bag in read_cohort(tmp_path)]
    assert clinical == [{"AGE": 61.0, "GENDER": "F"}, {"AGE": 44.5}, {}]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("patient,AGE\n1,3\n", "may be control/1 or sick/1"),
        ("patient,AGE\n9,3\n", "No patient"),
        ("name,AGE\n1,3\n", "neither a column"),
        ("patient,AGE\n2,3\n2,4\n", "Row 3 .* repeats"),
    ],
)
def test_clinical_tables_that_cannot_be_joined(tmp_path: Path, table: str, told: str) -> None:
    write_folder(tmp_path, "control/1/a.png", "sick/1/a.png", "sick/2/a.png")
    (tmp_path / "clinical.csv").write_text(table)
    with pytest.raises(CohortError, match=told):
        read_cohort(tmp_path)
