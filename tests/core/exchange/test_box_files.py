"""Tables of boxes, Shapes layers of napari and Pascal VOC become boxes and outlines in pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Shapes
from napari_builtins.io import napari_write_shapes

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells, has_outline
from napari_amil.core.exchange.annotation import Annotation
from napari_amil.core.exchange.box_files import read_boxes, read_shapes, read_voc

BOX = np.array([[9.5, 19.5], [9.5, 59.5], [39.5, 59.5], [39.5, 19.5]])
TRIANGLE = np.array([[100, 100], [140, 100], [140, 160]], float)

OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


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


def test_a_column_says_of_which_kind_a_cell_is(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    rows = "a.png,RBC,0,0,9,9\na.png,WBC,10,10,40,40\na.png,platelet,50,50,55,55\n"
    path.write_text("image,kind,y0,x0,y1,x1\n" + rows)
    every = read_boxes(path)["a.png"]
    assert [record["kind"] for record in every.records] == ["RBC", "WBC", "platelet"]
    some = read_boxes(path, ("RBC", "WBC"))["a.png"]
    assert [record["kind"] for record in some.records] == ["RBC", "WBC"]
    assert some.cells.boxes[:, 0].tolist() == [0, 10]
    inside = some.within("a.png", (60, 60))
    assert [record["kind"] for record in inside.records] == ["RBC", "WBC"]
    shifted = Annotation(Cells(some.cells.boxes - [5, 12, 5, 12]), records=some.records)
    assert [record["kind"] for record in shifted.within("a.png", (60, 60)).records] == ["WBC"]


def test_without_images_there_is_one(tmp_path: Path) -> None:
    assert list(read_boxes(table(tmp_path / "t.csv", "y0,x0,y1,x1", "0,0,9,9"))) == [""]


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        ("image,x,y", "a.png,1,2", r"t\.csv' has no boxes; its header needs y0, x0"),
        ("image,y0,x0,y1,x1", "a.png,1,2,one,4", r"t\.csv': 1 object .* \(1 damaged\), and no cell remains"),
        ("image,y0,x0,y1,x1", "a.png,9,2,3,4", r"t\.csv': 1 object .* \(1 without an area\)"),
    ],
)
def test_unusable_tables_are_refused_in_words(tmp_path: Path, header: str, row: str, reason: str) -> None:
    with pytest.raises(AmilError, match=reason):
        read_boxes(table(tmp_path / "t.csv", header, row))


def saved(layer: Shapes, path: Path) -> Path:
    """Save a layer as napari's own writer does."""
    data, meta, _ = layer.as_layer_data_tuple()
    return Path(napari_write_shapes(str(path), data, meta))


def test_shapes_saved_by_napari(tmp_path: Path) -> None:
    layer = Shapes()
    layer.add_rectangles(BOX)
    layer.add_polygons(TRIANGLE)
    layer.add_ellipses(BOX + 100)
    path = saved(layer, tmp_path / "a.csv")
    cells = read_shapes(path).cells
    assert cells.boxes[0].tolist() == [10, 20, 40, 60]
    assert cells.boxes[1].tolist() == [100.5, 100.5, 140.5, 160.5]
    np.testing.assert_allclose(cells.boxes[2], [110, 120, 140, 160], atol=1e-3)
    assert has_outline(cells).tolist() == [False, True, True]
    np.testing.assert_allclose(cells.outlines[1], TRIANGLE + 0.5)
    assert cells.area_px.tolist() == pytest.approx([1200, 1200, np.pi * 15 * 20], rel=0.01)


def test_the_page_of_a_stack_is_the_first_axis(tmp_path: Path) -> None:
    shapes = [np.column_stack([np.full(4, page), BOX + 10 * page]) for page in (0, 2, 2)]
    path = saved(Shapes(shapes), tmp_path / "a.csv")
    assert [len(read_shapes(path, page).cells) for page in range(3)] == [1, 0, 2]
    assert read_shapes(path, 2).cells.boxes[0].tolist() == [30, 40, 60, 80]


def test_what_encloses_nothing_is_refused_in_words(tmp_path: Path) -> None:
    path = saved(Shapes([np.array([[0, 0], [40, 40]])], shape_type="line"), tmp_path / "a.csv")
    with pytest.raises(AmilError, match=r"a\.csv': 1 object .* \(1 a line or point\), and no cell remains"):
        read_shapes(path)
    other = tmp_path / "b.csv"
    other.write_text("index,axis-0,axis-1\n0,1,2\n")
    with pytest.raises(AmilError, match=r"b\.csv' lacks shape-type, vertex-index; save the Shapes layer"):
        read_shapes(other)
    other.write_text("index,shape-type,vertex-index,axis-0,axis-1\n0,polygon,0,1,x\n")
    with pytest.raises(AmilError, match=r"b\.csv' needs numbers"):
        read_shapes(other)


def voc(*objects: tuple[str, int, int, int, int]) -> str:
    return "<annotation>" + "".join(OBJECT.format(*values) for values in objects) + "</annotation>"


def test_the_first_pixel_is_1_and_the_last_belongs_to_the_box(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(voc(("RBC", 1, 11, 40, 50), ("Platelets", 70, 70, 80, 80)))
    assert read_voc(path).cells.boxes.tolist() == [[10, 0, 50, 40], [69, 69, 80, 80]]
    assert read_voc(path, {"RBC"}).cells.boxes.tolist() == [[10, 0, 50, 40]]
    path.write_text(voc())
    assert len(read_voc(path).cells) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation", r"a\.xml' is no Pascal VOC file"),
        (
            "<annotation><object><name>RBC</name></object></annotation>",
            r"left out \(1 damaged\), and no cell",
        ),
        ("<html></html>", "begins with <html>, not <annotation>"),
        (voc(("RBC", 40, 11, 1, 50)), r"a\.xml': 1 object that is no cell is left out \(1 without an area\)"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + voc(("RBC", 1, 11, 40, 50)), "it declares entities"),
    ],
)
def test_what_is_no_voc_is_refused_in_words(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(AmilError, match=reason):
        read_voc(path)


def test_boxes_that_are_no_cells_cost_only_themselves(tmp_path: Path) -> None:
    rows = ("a.png,1,2,41,52", "a.png,5,5,6,6", "a.png,9,9,9,30", "a.png,1,x,5,6", "b.png,,,,")
    found = read_boxes(table(tmp_path / "t.csv", "image,y0,x0,y1,x1", *rows))
    assert found["a.png"].cells.boxes.tolist() == [[1, 2, 41, 52]]
    assert found["a.png"].left_out == {"too small to be a cell": 1, "without an area": 1, "damaged": 1}
    assert found["b.png"].left_out == {"damaged": 1}
    path = tmp_path / "a.xml"
    path.write_text(voc(("RBC", 1, 11, 40, 50), ("RBC", 7, 7, 7, 7), ("RBC", 9, 9, 3, 30)))
    assert read_voc(path).cells.boxes.tolist() == [[10, 0, 50, 40]]
    assert read_voc(path).left_out == {"too small to be a cell": 1, "without an area": 1}
    path = saved(Shapes([BOX, TRIANGLE[:2]], shape_type=["rectangle", "line"]), tmp_path / "s.csv")
    assert read_shapes(path).cells.boxes.tolist() == [[10, 20, 40, 60]]
    assert read_shapes(path).left_out == {"a line or point": 1}


def test_ids_that_are_no_numbers_are_replaced(tmp_path: Path) -> None:
    rows = ("1e400,0,0,9,9", "x,20,0,29,9", "7,40,0,49,9", "99999999999999999999999,60,0,69,9")
    found = read_boxes(table(tmp_path / "t.csv", "cell_id,y0,x0,y1,x1", *rows))[""]
    assert found.cells.cell_id.tolist() == [8, 9, 7, 10]


def test_a_quoted_decimal_comma_is_named_and_an_empty_flag_is_none(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "y0,x0,y1,x1", '"5,5","5,5","25,5","25,5"')
    with pytest.raises(AmilError, match=r"side '5,5', no number \(decimal comma: write a point\)"):
        read_boxes(path)
    path = table(tmp_path / "a.csv", "y0,x0,y1,x1,touches_border", "1,1,9,9,", "2,2,9,9,true")
    assert read_boxes(path)[""].cells.touches_border.tolist() == [False, True]
    path = table(tmp_path / "a.csv", "y0,x0,y1,x1", "x,1,9,9", "x,1,8,8", "2,2,9,9")
    assert dict(read_boxes(path)[""].left_out) == {"damaged": 2}
