"""Annotations are found beside their images, under the documented names, and one bad file stops nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Warned, drain
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.annotation import Annotation
from napari_amil.core.exchange.annotation_files import read_annotations
from napari_amil.core.exchange.coco import write_coco
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.images.read import ImageSource

CELL = Cells(np.array([[10, 20, 40, 60]], np.float32))
VOC = (
    "<annotation><object><name>RBC</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>40</ymax>"
    "</bndbox></object></annotation>"
)
SHAPES = "index,shape-type,vertex-index,axis-0,axis-1\n" + "".join(
    f"0,rectangle,{i},{y},{x}\n"
    for i, (y, x) in enumerate([(9.5, 19.5), (9.5, 59.5), (39.5, 59.5), (39.5, 19.5)])
)


def images(folder: Path, *names: str) -> dict[str, ImageSource]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (100, 80)).save(folder / name)
    return {name: ImageSource(folder / name, 0, name) for name in names}


def put(path: Path) -> None:
    """Write the one cell in the format that the name of the file asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".xml":
        path.write_text(VOC)
    elif path.suffix == ".csv":
        path.write_text(SHAPES)
    elif path.suffix == ".geojson":
        write_geojson(CELL, None, path)
    else:
        labels = np.zeros((80, 100), np.uint8)
        labels[10:40, 20:60] = 1
        PIL.Image.fromarray(labels).save(path)


def read(place: Path, known: dict[str, ImageSource]) -> tuple[dict[str, Annotation], list[Event]]:
    events: list[Event] = []
    return drain(read_annotations(place, known), events.append), events


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ("p1/a.jpg", "p1/a_labels.png"),
        ("p1/a.jpg", "p1/a_cp_masks.tif"),
        ("p1/a.jpg", "labels/p1/a.png"),
        ("p1/a.jpg", "p1/masks/a.tif"),
        ("images/a.png", "labels/a.png"),
        ("images/a.jpg", "labels/images/a_labels.png"),
        ("a.jpg", "a.csv"),
        ("a.jpg", "a_shapes.csv"),
        ("images/a.jpg", "shapes/a.csv"),
        ("a.jpg", "a.xml"),
        ("JPEGImages/a.jpg", "Annotations/a.xml"),
        ("a.jpg", "a.jpg.geojson"),
        ("p1/a.jpg", "geojson/p1/a.jpg.geojson"),
    ],
)
def test_places_beside_an_image(tmp_path: Path, image: str, annotation: str) -> None:
    known = images(tmp_path, image, "other/b.jpg")
    put(tmp_path / annotation)
    found, events = read(tmp_path, known)
    assert list(found) == [image]
    assert found[image].cells.boxes.tolist() == [[10, 20, 40, 60]]
    assert not [event for event in events if isinstance(event, Failed | Warned)]


def test_one_file_for_many_images_by_name_or_the_end_of_it(tmp_path: Path) -> None:
    known = images(tmp_path, "p1/a.jpg", "p2/b.jpg", "p2/c.jpg")
    write_coco({"a.jpg": ((80, 100), CELL), "x/p2/b.jpg": ((80, 100), CELL)}, tmp_path / "cells.coco.json")
    (tmp_path / "clinical.csv").write_text("patient,age\np1,3\n")
    (tmp_path / "metrics.json").write_text('{"accuracy": 1}')
    for place in (tmp_path, tmp_path / "cells.coco.json"):
        found, events = read(place, known)
        assert sorted(found) == ["p1/a.jpg", "p2/b.jpg"]
        assert not [event for event in events if isinstance(event, Failed)]
    (tmp_path / "cells.csv").write_text("image,y0,x0,y1,x1\np1/a.jpg,1,1,9,9\n")
    with pytest.raises(AmilError, match=r"cells\.coco\.json' and 'cells\.csv' both say where the cells"):
        read(tmp_path, known)
    assert list(read(tmp_path / "cells.csv", known)[0]) == ["p1/a.jpg"]


def test_one_bad_annotation_stops_nothing(tmp_path: Path) -> None:
    known = images(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    put(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_text("no xml")
    put(tmp_path / "c.xml")
    put(tmp_path / "c_labels.png")
    put(tmp_path / "d_labels.png")
    found, events = read(tmp_path, known)
    assert list(found) == ["a.jpg"]
    failed = {event.source: event.reason for event in events if isinstance(event, Failed)}
    assert "b.xml' is no Pascal VOC file" in failed["b.jpg"]
    assert "'c.jpg' is annotated more than once, in 'c.xml' and 'c_labels.png'" in failed["c.jpg"]
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert warned == ["1 label image(s) belong to no image, 'd_labels.png' first; check their names."]


def test_a_file_of_one_image(tmp_path: Path) -> None:
    known = images(tmp_path, "a.jpg", "b.jpg")
    put(tmp_path / "elsewhere" / "b_labels.png")
    assert list(read(tmp_path / "elsewhere" / "b_labels.png", known)[0]) == ["b.jpg"]
    put(tmp_path / "Shapes.csv")
    with pytest.raises(AmilError, match=r"Shapes\.csv' belongs to none of the images"):
        read(tmp_path / "Shapes.csv", known)
    assert list(read(tmp_path / "Shapes.csv", {"a.jpg": known["a.jpg"]})[0]) == ["a.jpg"]
    with pytest.raises(AmilError, match="There is no file or folder"):
        read(tmp_path / "absent.csv", known)
    (tmp_path / "cells.txt").write_text("1 2 3")
    with pytest.raises(AmilError, match=r"cells\.txt' holds no cells that can be read; give COCO"):
        read(tmp_path / "cells.txt", known)


def test_cells_lie_inside_their_image() -> None:
    boxes = np.array([[-3, 5, 20, 30], [40, 50, 79, 90], [30, 30, 50, 60]], np.float32)
    inside = Annotation(Cells(boxes)).within("a.jpg", (80, 100)).cells
    assert inside.boxes.tolist() == [[0, 5, 20, 30], *boxes[1:].tolist()]
    assert inside.touches_border.tolist() == [True, True, False]
    assert inside.outlines[0].tolist() == [[0, 5], [0, 30], [20, 30], [20, 5]]
    partly = Annotation(Cells(np.array([[70, 5, 90, 30], [20, 5, 40, 30]], np.float32))).within(
        "a.jpg", (60, 100)
    )
    assert partly.cells.boxes.tolist() == [[20, 5, 40, 30]]
    assert partly.left_out == {"outside the image": 1}
    with pytest.raises(AmilError, match=r"1 of 1 boxes of 'a\.jpg' lie outside its 100 x 60 pixels"):
        Annotation(Cells(np.array([[60, 1, 70, 9]], np.float32))).within("a.jpg", (60, 100))
    with pytest.raises(AmilError, match=r"labels of 'a\.jpg' are 50 x 40 pixels, but the image has 100 x 80"):
        Annotation(CELL, shape=(40, 50)).within("a.jpg", (80, 100))


def test_objects_that_are_no_cells_are_counted_in_one_warning(tmp_path: Path) -> None:
    known = images(tmp_path, "a.jpg", "b.jpg")
    for name in known:
        (tmp_path / name).with_suffix(".csv").write_text("y0,x0,y1,x1\n10,20,40,60\n5,5,6,6\n")
    found, events = read(tmp_path, known)
    assert [len(one.cells) for one in found.values()] == [1, 1]
    (warned,) = [event.message for event in events if isinstance(event, Warned)]
    assert warned.endswith(": 2 objects that are no cells are left out (2 too small to be a cell).")


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ("p1/K\u00e4\u00df.jpg", "p1/Ka\u0308\u00df.xml"),
        ("p1/Ka\u0308.jpg", "labels/p1/K\u00e4.png"),
        ("p1/A.JPG", "p1/a.XML"),
        ("p1/a.jpg", "p1/A_labels.png"),
    ],
)
def test_names_differ_by_unicode_form_or_case(tmp_path: Path, image: str, annotation: str) -> None:
    known = images(tmp_path, image, "other/b.jpg")
    put((tmp_path / annotation).with_suffix(Path(annotation).suffix.lower()))
    (tmp_path / annotation).with_suffix(Path(annotation).suffix.lower()).rename(tmp_path / annotation)
    found, events = read(tmp_path, known)
    assert list(found) == [image]
    assert not [event for event in events if isinstance(event, Failed | Warned)]


def test_names_in_one_file_differ_by_slashes_unicode_form_or_case(tmp_path: Path) -> None:
    known = images(tmp_path, "p1/K\u00e4.jpg", "p2/b.jpg", "p3/B.jpg")
    boxed = dict.fromkeys(("P1\\kä.JPG", "b.jpg", "p3\\b.jpg"), ((80, 100), CELL))
    write_coco(boxed, tmp_path / "cells.json")
    assert sorted(read(tmp_path / "cells.json", known)[0]) == ["p1/K\u00e4.jpg", "p2/b.jpg", "p3/B.jpg"]


def test_annotations_in_a_linked_folder_are_found(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.xml")
    known = images(tmp_path / "cohort", "p0/b.jpg")
    (tmp_path / "cohort" / "p1").symlink_to(tmp_path / "elsewhere")
    known |= images(tmp_path / "cohort", "p1/a.jpg")
    assert list(read(tmp_path / "cohort", known)[0]) == ["p1/a.jpg"]


def test_two_names_that_may_mean_one_image_are_not_guessed(tmp_path: Path) -> None:
    known = images(tmp_path, "a.png")
    place = tmp_path / "boxes.csv"
    place.write_text("image,y0,x0,y1,x1\na.png,1,1,9,9\nval/a.png,1,1,9,9\nval/a.png,2,2,9,9\n")
    assert len(read(place, known)[0]["a.png"].cells) == 1  # the very name
    place.write_text("image,y0,x0,y1,x1\ntrain/a.png,1,1,9,9\nval/a.png,2,2,9,9\n")
    with pytest.raises(AmilError, match=r"cells of 'train/a.png' and of 'val/a.png', and both may mean"):
        read(place, known)


def test_special_files_are_called_what_they_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(AmilError, match=r"x.csv' is a named pipe, not a file"):
        read(tmp_path / "x.csv", images(tmp_path, "a.png"))
