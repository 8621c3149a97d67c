"""COCO instances: fields as other programs expect them, and the same cells back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.mask import encode
from skimage.draw import disk, polygon

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.annotation import left_out_sentence
from napari_amil.core.exchange.coco import read_coco, write_coco

IMAGE = {"id": 5, "file_name": "a.jpg", "height": 480, "width": 640}


def read(annotations: Any, folder: Path, images: Any = None) -> dict[str, Cells]:
    path = folder / "foreign.json"
    content = {"images": images if images is not None else [IMAGE], "annotations": annotations}
    path.write_text(json.dumps(content), encoding="utf-8")
    return {name: found.cells for name, found in read_coco(path).items()}


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 5, "category_id": 3, "bbox": [10, 20, 40, 30], "area": 900, **changes}


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_cells_come_back_as_they_went(
    data: st.DataObject, cells_strategy: Callable, assert_same: Callable, folder: Path
) -> None:
    cells = {name: data.draw(cells_strategy(3)) for name in ("a.jpg", "näher/b c.png", "empty.tif")}
    write_coco({name: ((480, 640), found) for name, found in cells.items()}, folder / "cells.json")
    back = read_coco(folder / "cells.json")
    assert list(back) == list(cells)
    for name, wanted in cells.items():
        assert_same(back[name].cells, wanted)


def test_the_fields_of_coco(three: Cells, tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    write_coco({"a.jpg": ((480, 640), three), "b.jpg": ((10, 20), three)}, path)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content["images"][1] == {"id": 2, "file_name": "b.jpg", "height": 10, "width": 20}
    assert [category["name"] for category in content["categories"]] == ["cell"]
    annotations = content["annotations"]
    assert [a["id"] for a in annotations] == [1, 2, 3, 4, 5, 6]
    assert [a["image_id"] for a in annotations] == [1, 1, 1, 2, 2, 2]
    first = annotations[0]
    assert first["bbox"] == [2.0, 1.5, 50.0, 40.0]
    assert first["segmentation"] == [[2.0, 1.5, 52.0, 1.5, 52.0, 41.5]]
    assert first["area"] == 1000
    assert first["iscrowd"] == 0
    assert first["category_id"] == content["categories"][0]["id"]
    assert first["score"] == pytest.approx(0.9)
    assert "score" not in annotations[1]


def test_annotations_of_other_programs(tmp_path: Path) -> None:
    triangle = [10, 20, 50, 20, 50, 50]
    speck = [10, 20, 12, 20, 12, 22]
    found = read(
        [
            annotation(),
            annotation(segmentation=[speck, triangle]),
            annotation(iscrowd=1, segmentation={"counts": [3, 4], "size": [480, 640]}),
        ],
        tmp_path,
    )["a.jpg"]
    assert found.boxes.tolist() == [[20, 10, 50, 50]] * 2
    assert found.area_px.tolist() == [900, 900]
    assert found.cell_id.tolist() == [1, 2]
    assert np.isnan(found.detection_score).all()
    assert found.outlines[0].tolist() == [[20, 10], [20, 50], [50, 50], [50, 10]]
    assert found.outlines[1].tolist() == [[20, 10], [20, 50], [50, 50]]


def test_an_outline_outside_its_box_is_believed(tmp_path: Path) -> None:
    moved = read([annotation(segmentation=[[110, 20, 150, 20, 150, 50]])], tmp_path)["a.jpg"]
    assert moved.boxes.tolist() == [[20, 110, 50, 150]]
    assert moved.area_px.tolist() == [600]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (annotation(image_id=99), "1 of no image in the file"),
        (annotation(bbox=[1, 2, 3]), "1 damaged"),
        (annotation(bbox=[10, 20, 0, 5]), "1 without an area"),
        (annotation(bbox=[10, 20, 1, 1]), "1 too small to be a cell"),
        (annotation(bbox=None), "1 damaged"),
        (annotation(bbox=[10, 20, float("inf"), 5]), "1 damaged"),
        (annotation(segmentation=[[1, 2, 5, 5, 9, 8]], bbox=None), "1 without an area"),
        (annotation(segmentation={"counts": "abc", "size": [480, 640]}), "1 damaged"),
        (annotation(segmentation={"counts": [10**20], "size": [10**10, 10**10]}), "1 damaged"),
        (annotation(segmentation=[[1, 2, 3]]), "1 damaged"),
        (annotation(iscrowd=1), "1 a crowd of cells"),
        (annotation(score="high"), "1 damaged"),
        ("nothing", "1 damaged"),
    ],
)
def test_one_useless_object_costs_only_itself(wrong: Any, reason: str, tmp_path: Path) -> None:
    if isinstance(wrong, dict):
        path = tmp_path / "foreign.json"
        images = [IMAGE, {"id": 6, "file_name": "b.jpg"}]
        content = {"images": images, "annotations": [wrong, annotation(), annotation(image_id=6)]}
        path.write_text(json.dumps(content), encoding="utf-8")
        found = read_coco(path)
        assert {name: own.cells.boxes.tolist() for name, own in found.items()} == {
            "a.jpg": [[20, 10, 50, 50]],
            "b.jpg": [[20, 10, 50, 50]],
        }
        assert left_out_sentence("x", found["a.jpg"].left_out) == (
            f"'x': 1 object that is no cell is left out ({reason})."
        )
    with pytest.raises(AmilError, match=rf"foreign\.json.*({reason}|no COCO).*export it"):
        read([wrong] if isinstance(wrong, dict) else wrong, tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
def test_run_length_masks_are_read_as_pycocotools_writes_them(compressed: bool, tmp_path: Path) -> None:
    mask = np.zeros((480, 640), np.uint8, order="F")
    mask[disk((100, 200), 20)] = 1
    if compressed:
        runs = {**encode(mask), "counts": encode(mask)["counts"].decode()}
    else:
        ends = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0))
        runs = {"size": [480, 640], "counts": np.diff([0, *ends, mask.size]).tolist()}
    triangle = [[10, 20, 50, 20, 50, 50]]
    found = read([annotation(segmentation=runs, bbox=None), annotation(segmentation=triangle)], tmp_path)
    cells = found["a.jpg"]
    assert cells.boxes.tolist() == [[81, 181, 120, 220], [20, 10, 50, 50]]
    again = np.zeros_like(mask)
    again[polygon(*(cells.outlines[0].T - 0.5), mask.shape)] = 1
    np.testing.assert_array_equal(again, mask)


def test_unknown_scores_and_missing_boxes_and_windows_names(tmp_path: Path) -> None:
    outlined = annotation(score=None, area=None, cell_id=None, segmentation=[[10, 20, 50, 20, 50, 50]])
    del outlined["bbox"]
    found = read([outlined], tmp_path, [{**IMAGE, "file_name": r"images\a.jpg"}])
    cells = found["images/a.jpg"]
    assert cells.boxes.tolist() == [[20, 10, 50, 50]]
    assert np.isnan(cells.detection_score).all()
    assert cells.area_px.tolist() == [600]


def test_other_json_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(AmilError, match=r"list\.json.*no COCO instances file"):
        read_coco(path)


def test_useless_entries_cost_only_themselves_but_shared_ids_are_refused(tmp_path: Path) -> None:
    image, other = {"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}
    wrong = [None, "x", annotation(image_id=[1])]
    found = read([annotation(image_id=1), *wrong], tmp_path, [None, {"id": 2}, {"file_name": "c.png"}, image])
    assert {name: len(cells) for name, cells in found.items()} == {"a.png": 1}
    with pytest.raises(AmilError, match=r"'a.png' and 'b.png' have the same id, 1"):
        read([annotation(image_id=1)], tmp_path, [image, other])
