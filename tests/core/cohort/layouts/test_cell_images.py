"""Folders of cell images become bags whose cells fill their images, with clinical values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.checks import check_cohort
from napari_amil.core.cohort.layouts.registry import class_names, describe_cohort, layout_of, read_cohort
from napari_amil.core.cohort.summary import bag_table, clinical_columns
from napari_amil.core.instances.cell_image import refuse_other_cells


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Six samples of two cells each; the last has no row, and P7 no folder."""
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "images" / f"P{number}"
        folder.mkdir(parents=True)
        for cell in range(2):
            picture = rng.integers(0, 255, (50 + cell, 60, 3), dtype=np.uint8)
            PIL.Image.fromarray(picture).save(folder / f"{cell}.jpg")
    (tmp_path / "clinical_annotation.csv").write_text(
        "ID,LABEL,GENDER,LYMPH_COUNT,AGE,Stain\n"
        "P0,0,F,4.5,61,MGG\nP1,1,M,31,NA,MGG\nP2,0,n/a,5,44,MGG\nP3,,F,9,70,MGG\nP4,-1,M,9,70,\nP7,1,M,8,50,MGG\n"
    )
    return tmp_path


def test_every_image_is_one_cell(samples: Path) -> None:
    assert layout_of(samples) == layout_of(samples / "clinical_annotation.csv") == "cell-images"
    cohort = read_cohort(samples, control="0")
    assert [(bag.bag, bag.label, bag.n_cells) for bag in cohort] == [
        ("P0", "0", 2),
        ("P1", "1", 2),
        ("P2", "0", 2),
        ("P3", None, 2),
        ("P4", None, 2),
        ("P5", None, 2),
        ("P7", "1", 0),
    ]
    second = cohort.bags[1]
    assert second.images == ("images/P1/0.jpg", "images/P1/1.jpg")
    assert [cells.boxes.tolist() for cells in second.cells.values()] == [[[0, 0, 50, 60]], [[0, 0, 51, 60]]]
    assert (second.clinical, second.acquisition) == ({"GENDER": "M", "LYMPH_COUNT": 31.0}, {"stain": "MGG"})
    assert cohort.bags[2].clinical == {"LYMPH_COUNT": 5.0, "AGE": 44.0}
    assert (cohort.bags[5].clinical, cohort.bags[6].images) == ({}, ())
    assert describe_cohort(cohort) == (
        "7 bags of 7 patients, labels from the column 'LABEL' (3 without a label); without a row in "
        "'clinical_annotation.csv': 'P5'"
    )


def test_preview_and_check(samples: Path) -> None:
    cohort = read_cohort(samples, control="0")
    assert class_names(samples) == ["0", "1"]
    assert clinical_columns(cohort) == ["AGE", "GENDER", "LYMPH_COUNT"]
    assert bag_table(cohort)["cells"].fillna(0).tolist() == [2, 2, 2, 2, 2, 2, 0]
    messages = [problem.message for problem in check_cohort(cohort, 0) if problem.severity == "error"]
    assert messages == ["Bag 'P7' is empty; add its images or remove it."]


def test_the_control_class_is_recognised(samples: Path) -> None:
    assert read_cohort(samples).control == "0"
    table = samples / "clinical_annotation.csv"
    table.write_text("ID,LABEL\nP0,reactive\nP1,malignant\n")
    found = read_cohort(samples)
    assert (found.control, found.classes) == ("reactive", ("reactive", "malignant"))


def test_a_model_of_smears_refuses_images_of_single_cells(samples: Path) -> None:
    cohort = read_cohort(samples, control="0")
    with pytest.raises(CohortError, match=r"images of single cells, but the model is one of red") as caught:
        refuse_other_cells(cohort, RunSettings())
    assert "\n" not in str(caught.value)
    refuse_other_cells(cohort, preset("lympho-images"))


def test_ambiguous_folders_are_refused(samples: Path) -> None:
    other = samples / "more" / "P1"
    other.mkdir(parents=True)
    PIL.Image.new("RGB", (40, 40)).save(other / "9.jpg")
    with pytest.raises(CohortError, match=r"'images/P1' and 'more/P1' of .* are both sample 'P1'"):
        read_cohort(samples, control="0")
    (samples / "second.csv").write_text("id,label\nP1,0\n")
    with pytest.raises(CohortError, match="holds 2 tables with ID and LABEL"):
        read_cohort(samples, control="0")


def test_wrong_tables_are_refused(samples: Path) -> None:
    for text, reason in {
        "ID,LABEL\nP1,0\nP1,1\n": "Row 3 .* repeats an ID",
        "ID,LABEL\n,0\n": "has no ID",
    }.items():
        (samples / "clinical_annotation.csv").write_text(text)
        with pytest.raises(CohortError, match=reason):
            read_cohort(samples, control="0")
