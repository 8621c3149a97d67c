"""Image tables become bags without cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.cohort.layouts.registry import layout_of, read_cohort


def write(folder: Path, text: str) -> Path:
    path = folder / "fields.csv"
    path.write_text(text)
    return path


def test_bags_have_images_folds_and_acquisition(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "bag,patient,label,image,fold,Site,slide\n"
        "b1,p1,control,x/1.png,0,east,s1\nb1,p1,control,x/2.png,0,east,s2\nb1,p1,control,x/1.png,0,east,s1\n"
        "b2,p2,sick,x/3.png,1,,s3\nb3,p3,NA,x/4.png,,west,\n",
    )
    (tmp_path / "clinical.csv").write_text("patient,AGE\np1,61\n")
    assert layout_of(path) == "image-table"
    cohort = read_cohort(path)
    assert (cohort.root, cohort.classes, cohort.layout) == (
        str(tmp_path),
        ("control", "sick"),
        "image-table",
    )
    first, second, third = cohort
    assert (first.bag, first.patient, first.label, first.fold) == ("b1", "p1", "control", 0)
    assert (first.images, first.cells, first.cell_type) == (("x/1.png", "x/2.png"), {}, {})
    assert (first.acquisition, first.clinical) == ({"site": "east"}, {"AGE": 61.0})
    assert (second.fold, second.acquisition, second.clinical) == (1, {}, {})
    assert (third.label, third.fold) == (None, None)
    assert (first.slides, third.slides) == ({"x/1.png": "s1", "x/2.png": "s2"}, {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bag,image\nb,a.png\n", "The image table '.*' lacks patient, label; its header needs bag, patient"),
        ("bag,patient,label,image\nb,p,control,\n", "Row 2 .* has no image"),
        ("bag,patient,label,image\nb,p,control,a\nb,q,control,b\n", "Row 3 .* another patient"),
        ("bag,patient,label,image,fold\nb,p,control,a,x\n", "Row 2 .* fold = 'x'"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(CohortError, match=reason):
        read_cohort(write(tmp_path, text))


def test_a_table_with_a_column_of_boxes_is_a_cell_list(tmp_path: Path) -> None:
    assert layout_of(write(tmp_path, "bag,patient,label,image,x0\nb,p,control,a,1\n")) == "cell-list"


@pytest.mark.realdata
def test_the_fields_of_the_slides(chula: Path) -> None:
    cohort = read_cohort(chula / "fields.csv")
    assert len(cohort) == 370
    assert {bag.fold for bag in cohort} >= {0, 1, 2}
    assert all(len(bag.images) == 1 and not bag.cells for bag in cohort)
