"""Tables of boxes of this and of other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.boxes import read_boxes


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_our_own_table_keeps_ids_flags_and_scores(tmp_path: Path) -> None:
    header = "image,cell_id,y0,x0,y1,x1,detection_score,area_px,touches_border,overlaps,status"
    rows = (
        "a.png,7,1,2,41,52,0.9,1000,False,True,scored",
        "a.png,3,1,2,31,32,,700,True,False,excluded",
        "b/c.png,1,0,0,9,9,0.5,81,True,False,unscored",
    )
    found = read_boxes(table(tmp_path / "cells.csv", header, *rows))
    assert list(found) == ["a.png", "b/c.png"]
    cells = found["a.png"].cells
    assert cells.cell_id.tolist() == [7]
    assert cells.boxes.tolist() == [[1, 2, 41, 52]]
    assert (cells.overlaps[0], cells.touches_border[0]) == (True, False)
    assert found["a.png"].complete
    assert found["a.png"].patients == ()


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,xmin,ymin,xmax,ymax,class", "a.png,2,1,52,41,RBC"),
        ("image,x,y,width,height", "a.png,2,1,50,40"),
        ("Image;X;Y;W;H", "a.png;2;1;50;40"),
        ("image,x,y,y0,x0,y1,x1", "a.png,27,21,1,2,41,52"),
    ],
)
def test_other_names_of_the_columns(tmp_path: Path, header: str, row: str) -> None:
    found = read_boxes(table(tmp_path / "t.csv", header, row))
    assert found["a.png"].cells.boxes.tolist() == [[1, 2, 41, 52]]


def test_a_cell_list_names_some_cells_and_whose_they_are(tmp_path: Path) -> None:
    header = "bag,patient,label,fold,image,y0,x0,y1,x1"
    rows = (
        "b1,p1,control,2,a.png,0,0,9,9",
        "b2,p2,ill,2,a.png,0,0,9,9",
        "b2,p2,ill,2,a.png,20,0,29,9",
        "b2,p2,ill,2,c.png,20,0,29,9",
    )
    found = read_boxes(table(tmp_path / "bags.csv", header, *rows))
    assert len(found["a.png"].cells) == 2
    assert found["a.png"].patients == ("p1", "p2")
    assert found["a.png"].fold == 2
    assert not found["a.png"].complete
    told = read_boxes(
        table(tmp_path / "t.csv", "image,y0,x0,y1,x1,exhaustive", "a.png,0,0,9,9,1", "b.png,0,0,9,9,0")
    )
    assert [annotation.complete for annotation in told.values()] == [True, False]
    listed = table(tmp_path / "e.csv", f"{header},exhaustive", "b1,p1,control,2,a.png,0,0,9,9,1")
    assert read_boxes(listed)["a.png"].complete  # the column has the last word on a cell list, too


def test_without_images_there_is_one(tmp_path: Path) -> None:
    assert list(read_boxes(table(tmp_path / "t.csv", "y0,x0,y1,x1", "0,0,9,9"))) == [""]


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        ("image,x,y", "a.png,1,2", r"t\.csv' has no boxes; its header needs y0, x0"),
        ("image,y0,x0,y1,x1", "a.png,1,2,one,4", r"t\.csv' holds a box of 'a\.png' that cannot be used"),
        ("image,y0,x0,y1,x1", "a.png,9,2,3,4", r"t\.csv' holds a box of 'a\.png' that cannot be used"),
    ],
)
def test_unusable_tables_are_refused_in_words(tmp_path: Path, header: str, row: str, reason: str) -> None:
    with pytest.raises(AmilError, match=reason):
        read_boxes(table(tmp_path / "t.csv", header, row))
