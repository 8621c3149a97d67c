"""Cell lists become bags with cells; what is wrong is named with its row and the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_amil.core.base.errors import CohortError
from napari_amil.core.cohort.layouts.registry import describe_cohort, read_cohort
from napari_amil.core.instances.sources import cohort_source

HEADER = "bag,patient,label,image,y0,x0,y1,x1"


def write_list(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = folder / "cells.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def test_a_cell_list_keeps_order_and_repeated_cells(tmp_path: Path) -> None:
    path = write_list(
        tmp_path,
        "b2,p1,disease,img/2.png,1,2,11,12.5,normal,1",
        "b2,p1,disease,img/1.png,0,0,10,10,target,1",
        "b1,p0,control,img/1.png,0,0,10,10,normal,0",
        "b2,p1,disease,img/2.png,1,2,11,12.5,normal,1",
        header=f"{HEADER},cell_type,fold",
    )
    cohort = read_cohort(path)
    assert cohort.classes == ("control", "disease")
    assert [bag.bag for bag in cohort] == ["b2", "b1"]
    bag = cohort.bags[0]
    assert (bag.patient, bag.label, bag.fold, bag.n_cells) == ("p1", "disease", 1, 3)
    assert bag.images == ("img/2.png", "img/1.png")
    np.testing.assert_array_equal(bag.cells["img/2.png"].boxes, [[1, 2, 11, 12.5]] * 2)
    assert bag.cells["img/2.png"].cell_id.tolist() == [1, 2]
    assert bag.cell_type["img/1.png"].tolist() == ["target"]


def test_the_slide_of_an_image_is_read_and_must_be_one(tmp_path: Path) -> None:
    rows = ["b,p,control,a.png,0,0,9,9,s1", "b,p,control,b.png,0,0,9,9,", "c,q,sick,a.png,0,0,9,9,s1"]
    path = write_list(tmp_path, *rows, header=f"{HEADER},slide")
    assert [bag.slides for bag in read_cohort(path)] == [{"a.png": "s1"}, {"a.png": "s1"}]
    path = write_list(tmp_path, *rows, "c,q,sick,a.png,0,0,9,9,s2", header=f"{HEADER},slide")
    with pytest.raises(CohortError, match=r"Row 5 of .* gives its image another slide"):
        read_cohort(path)


def test_a_control_bag_may_teach_the_classes_only(tmp_path: Path) -> None:
    rows = [f"{bag},p,control,a.png,0,0,9,9,{value}" for bag, value in (("b", 0), ("c", 1), ("d", ""))]
    cohort = read_cohort(write_list(tmp_path, *rows, header=f"{HEADER},control_reference"))
    assert [bag.control_reference for bag in cohort] == [False, True, True]


def test_cell_ids_of_the_file_are_kept(tmp_path: Path) -> None:
    rows = ["b,p,control,a.png,0,0,9,9,7", "b,p,control,a.png,1,1,9,9,", "b,p,control,a.png,0,0,9,9,7"]
    cells = read_cohort(write_list(tmp_path, *rows, header=f"{HEADER},cell_id")).bags[0].cells["a.png"]
    assert cells.cell_id.tolist() == [7, 8, 9]


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8-sig"), (";", "utf-8"), ("\t", "utf-8-sig")])
def test_files_as_spreadsheets_write_them(tmp_path: Path, delimiter: str, encoding: str) -> None:
    row = delimiter.join(["b 1", "Mu\u0308ller", " control ", "Bild ä\\1.png", "0", "0", "9", "9"])
    path = write_list(tmp_path, row, "", header=HEADER.replace(",", delimiter), encoding=encoding)
    bag = read_cohort(path).bags[0]
    assert (bag.patient, bag.label, bag.images) == ("M\u00fcller", "control", ("Bild ä/1.png",))


@pytest.mark.parametrize(
    "label", ["", "-1", "-1.0", "NA", "nan", "NaN", "None", "n/a", "N/A", "#N/A", "null", "-1,0"]
)
def test_a_bag_may_have_no_label(tmp_path: Path, label: str) -> None:
    path = write_list(tmp_path, f'b,p,"{label}",a.png,0,0,9,9', "c,q,control,a.png,0,0,9,9")
    assert [bag.label for bag in read_cohort(path)] == [None, "control"]


def test_a_cohort_that_is_only_scored_needs_no_control(tmp_path: Path) -> None:
    path = write_list(tmp_path, "b,p,,a.png,0,0,9,9", "c,q,sick,a.png,0,0,9,9")
    assert read_cohort(path, to_score=True).classes == ("control", "sick")
    with pytest.raises(CohortError, match="control class 'control' is not among"):
        read_cohort(path)


WRONG = {
    "b,p,control,a.png,0,0,x,9": "Row 2 of '.*cells.csv' has y1 = 'x', which is no number",
    "b,p,control,a.png,0,0,inf,9": "y1 = 'inf'",
    "b,p,control,a.png,5,0,5,9": "No box of .* is a cell .1 without an area.; it needs y0 < y1",
    ",p,control,a.png,0,0,9,9": "Row 2 .* has no bag",
    "b,p,control,a.png,0,0,9": "Row 2 .* has 7 fields but the header 8",
    "b,p,control,a.png,0,0,9,9\nb,q,control,a.png,0,0,9,9": "Row 3 .* another patient",
    "b,p,control,a.png,0,0,9,9\nb,p,sick,a.png,0,0,9,9": "Row 3 .* another label",
    "b,p,sick,a.png,0,0,9,9": "control class 'control' is not among",
    "": "no row below its header",
}


@pytest.mark.parametrize("row", WRONG)
def test_a_wrong_row_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(CohortError, match=WRONG[row]) as caught:
        read_cohort(write_list(tmp_path, row))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("fold", ("1", "2"), "Row 3 .* another fold"),
        ("fold", ("1.5", "1.5"), "fold = '1.5'"),
        ("control_reference", ("0", "1"), "Row 3 .* another control_reference"),
        ("control_reference", ("no", "no"), "Row 2 .* another control_reference than 0 or 1"),
        ("cell_id", ("1", "12345678901234567890"), "cell_id = '12345678901234567890'"),
        ("cell_id", ("4", "4"), "Row 3 .* cell_id of another box"),
    ],
)
def test_wrong_optional_columns_are_named(
    tmp_path: Path, column: str, values: tuple[str, str], told: str
) -> None:
    rows = [f"b,p,control,a.png,0,0,9,{9 + i},{value}" for i, value in enumerate(values)]
    with pytest.raises(CohortError, match=told):
        read_cohort(write_list(tmp_path, *rows, header=f"{HEADER},{column}"))


def test_missing_columns_and_wrong_encodings_are_said(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="lacks y0, x1; its header needs"):
        read_cohort(write_list(tmp_path, "b,p,l,i,0,0", header="bag,patient,label,image,x0,y1"))
    with pytest.raises(CohortError, match="UTF-8"):
        read_cohort(write_list(tmp_path, "b,Müller,control,a.png,0,0,9,9", encoding="latin-1"))
    with pytest.raises(CohortError, match="two columns 'bag'"):
        read_cohort(write_list(tmp_path, "b,p", header="bag,bag"))
    with pytest.raises(CohortError, match=r"two columns .* differ only by case, 'label' and 'Label'"):
        read_cohort(
            write_list(tmp_path, "b,p,ill,a,control,0,0,9,9", header=HEADER.replace("label", "label,Label"))
        )
    with pytest.raises(CohortError, match="cannot be found or is no cohort; give a folder <root>"):
        read_cohort(tmp_path / "nothing")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 50)), min_size=1, max_size=30))
def test_no_row_is_lost_and_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]]
) -> None:
    lines = [f"b{bag},p{bag},control,i{image},{y},0,{y + 3},5" for bag, image, y in rows]
    cohort = read_cohort(write_list(tmp_path_factory.getbasetemp(), *lines))
    assert [bag.bag for bag in cohort] == list(dict.fromkeys(f"b{bag}" for bag, _, _ in rows))
    for bag in cohort:
        for image, cells in bag.cells.items():
            wanted = [y for b, i, y in rows if (f"b{b}", f"i{i}") == (bag.bag, image)]
            assert cells.boxes[:, 0].tolist() == wanted


def test_the_composite_bags(chula: Path) -> None:
    cohort = read_cohort(chula / "bags.csv")
    assert len(cohort) == 344
    assert sum(bag.n_cells for bag in cohort) == 9637
    assert cohort.classes == ("control", "hs_like", "scd_like", "thal_like", "xero_like")
    patients = {fold: {bag.patient for bag in cohort if bag.fold == fold} for fold in range(3)}
    images = {
        fold: {image for bag in cohort if bag.fold == fold for image in bag.images} for fold in range(3)
    }
    assert {bag.fold for bag in cohort} == {0, 1, 2}
    for group in (patients, images):
        assert sum(map(len, group.values())) == len(set().union(*group.values()))
    types = np.concatenate([t for bag in cohort if bag.label == "control" for t in bag.cell_type.values()])
    assert set(types) == {"normal"}


def test_spellings_of_a_class_are_one_class(tmp_path: Path) -> None:
    rows = ["a,p,Control,a.png,0,0,9,9", "a,p,control,a.png,9,9,19,19", "b,q,CONTROL,b.png,0,0,9,9"]
    rows += ["c,r,SCD,c.png,0,0,9,9", "d,s,scd,d.png,0,0,9,9", "e,t,SCD,e.png,0,0,9,9"]
    cohort = read_cohort(write_list(tmp_path, *rows))
    assert [bag.label for bag in cohort] == ["control", "control", "SCD", "SCD", "SCD"]
    assert describe_cohort(cohort) == (
        "5 bags of 5 patients, labels from the column 'label'; 'CONTROL' and 'Control' read as the class "
        "'control'; 'scd' read as the class 'SCD'"
    )


def test_the_other_form_of_an_umlaut_is_found_on_the_disk(tmp_path: Path) -> None:
    stored = tmp_path / "Ma\u0308rz" / "Pra\u0308parat.png"
    stored.parent.mkdir()
    stored.touch()
    path = write_list(tmp_path, "b,p,control,M\u00e4rz/Pr\u00e4parat.png,0,0,9,9")
    assert list(cohort_source(read_cohort(path)).files.values()) == [(stored, 0)]


def test_a_decimal_comma_is_named_where_it_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"y0 = '1,5', which is no number \(decimal comma: write a point\)"):
        read_cohort(write_list(tmp_path, 'b,p,control,a.png,"1,5",0,9,9'))
    path = write_list(tmp_path, "b;p;control;a.png;1,5;0;9;9", header=HEADER.replace(",", ";"))
    assert read_cohort(path).bags[0].cells["a.png"].boxes[0, 0] == 1.5


@pytest.mark.parametrize("label", ["<NA>", "unknown", "?", "-", "n.a.", "NaT", "#NA", "\u22121", "N\u200bA"])
def test_words_of_other_programs_for_nothing_known_are_no_class(tmp_path: Path, label: str) -> None:
    path = write_list(tmp_path, f'b,p,"{label}",a.png,0,0,9,9', "c,q,con\u200btrol\u00a0,a.png,0,0,9,9")
    assert [bag.label for bag in read_cohort(path)] == [None, "control"]


def test_a_box_that_is_no_cell_costs_only_itself_and_is_said(tmp_path: Path) -> None:
    path = write_list(
        tmp_path,
        "b,p,control,a.png,0,0,9,9",
        "b,p,control,a.png,3,3,4,4",
        "b,p,control,a.png,5,0,5,9",
        "c,q,control,a.png,5,5,6,8",
    )
    cohort = read_cohort(path)
    assert [(bag.bag, bag.cells["a.png"].boxes.tolist()) for bag in cohort] == [("b", [[0, 0, 9, 9]])]
    assert describe_cohort(cohort) == (
        "1 bag of 1 patient, labels from the column 'label'; boxes that are no cells left out: 1 without an "
        "area, 2 too small to be a cell; bags without a cell left out: 'c'"
    )
    path = write_list(tmp_path, "b,p,control,a.png,3,3,4,4,0.9", header=f"{HEADER},detection_score")
    assert read_cohort(path).bags[0].n_cells == 1  # what a network found counts
