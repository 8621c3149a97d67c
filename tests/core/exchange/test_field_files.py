"""Label images, RoiSets, LabelMe and YOLO: read by their own field's readers, and back as they were."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Failed, drain
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.annotation_files import read_annotations
from napari_amil.core.exchange.field_files import (
    WRITERS,
    read_labelme,
    read_rois,
    write_labelme,
    write_rois,
)
from napari_amil.core.exchange.yolo import read_yolo, write_yolo
from napari_amil.core.images.read import ImageSource

SHAPE = (100, 140)
TRIANGLE = np.array([[10.5, 20.25], [10.5, 50.75], [40.0, 35.0]], np.float32)
SQUARE = np.array([[50, 60], [50, 90], [82, 90], [82, 60]], np.float32)


@pytest.fixture
def cells() -> Cells:
    """A triangle and a square with ids of their own."""
    boxes = np.array([[10.5, 20.25, 40, 50.75], [50, 60, 82, 90]], np.float32)
    return Cells(boxes, (TRIANGLE, SQUARE), cell_id=np.array([7, 3]), area_px=np.array([450.0, 960.0]))


@pytest.fixture
def picture(tmp_path: Path) -> ImageSource:
    """An image for the cells."""
    PIL.Image.new("RGB", SHAPE[::-1]).save(tmp_path / "a.png")
    return ImageSource(tmp_path / "a.png", 0, "a.png")


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_found_beside_its_image_and_round_trips(
    kind: str, cells: Cells, picture: ImageSource, tmp_path: Path
) -> None:
    if kind == "imagej":
        pytest.importorskip("roifile")
    suffix, write = WRITERS[kind]
    place = tmp_path / {"labels": "masks", "yolo": "labels"}.get(kind, kind)
    write(cells, None, ("a.png", SHAPE), place / f"a{suffix}")
    failed: list[object] = []
    found = drain(read_annotations(tmp_path, {"a.png": picture}), failed.append)
    assert not [event for event in failed if isinstance(event, Failed)]
    again = found["a.png"].cells
    order = np.argsort(again.boxes[:, 0])
    np.testing.assert_allclose(again.boxes[order], cells.boxes, atol=1.0 if kind == "labels" else 0.01)
    areas = [again.area_px[row] for row in order]
    np.testing.assert_allclose(areas, [465.1, 960.0] if kind == "yolo" else areas, rtol=0.1)


def test_a_label_image_has_the_ids_as_its_pixels(cells: Cells, tmp_path: Path) -> None:
    WRITERS["labels"][1](cells, None, ("a.png", SHAPE), tmp_path / "a_masks.tif")
    labels = tifffile.imread(tmp_path / "a_masks.tif")
    assert (labels.dtype, labels.shape) == (np.uint16, SHAPE)
    assert (labels == 3).sum() == 32 * 30
    assert set(np.unique(labels)) == {0, 3, 7}


def test_imagej_gets_polygons_with_parts_of_pixels(cells: Cells, tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    write_rois(cells, pd.DataFrame({"cell_type": ["burr", None]}), ("a.png", SHAPE), tmp_path / "a_rois.zip")
    rois = roifile.roiread(tmp_path / "a_rois.zip")
    assert [roi.name for roi in rois] == ["0007-burr", "0003-cell"]
    np.testing.assert_allclose(rois[0].coordinates(), TRIANGLE[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(read_rois(tmp_path / "a_rois.zip").cells.outlines[0], TRIANGLE, atol=1e-5)
    line = roifile.ImagejRoi.frompoints([[1, 1], [30, 30]])
    line.roitype = roifile.ROI_TYPE.LINE
    roifile.roiwrite(tmp_path / "b.zip", [line, rois[1]])
    found = read_rois(tmp_path / "b.zip")
    assert (len(found.cells), dict(found.left_out)) == (1, {"a line or point": 1})
    (tmp_path / "c.zip").write_bytes(b"nothing")
    with pytest.raises(AmilError, match="is no RoiSet of ImageJ"):
        read_rois(tmp_path / "c.zip")


def test_labelme_keeps_ids_types_and_size(cells: Cells, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_labelme(cells, pd.DataFrame({"cell_type": ["burr", ""]}), ("x/a.png", SHAPE), path)
    content = json.loads(path.read_text())
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == ("a.png", 100, 140)
    assert content["shapes"][0]["points"] == TRIANGLE[:, ::-1].tolist()
    found = read_labelme(path)
    assert (found.cells.cell_id.tolist(), found.shape) == ([7, 3], SHAPE)
    assert found.records[0] == {"cell_type": "burr"}
    content["shapes"] = [
        {"label": "x", "points": [[10, 10], [30, 40]], "shape_type": "rectangle"},
        {"label": "x", "points": [[60, 60], [70, 60]], "shape_type": "circle"},
        {"label": "x", "points": [[1, 1]], "shape_type": "point"},
    ]
    path.write_text(json.dumps(content))
    found = read_labelme(path)
    np.testing.assert_allclose(found.cells.boxes, [[10, 10, 40, 30], [50, 50, 70, 70]], atol=0.1)
    assert dict(found.left_out) == {"a line or point": 1}


@pytest.fixture(scope="module")
def supervision() -> Any:
    """A library that trains on files of LabelMe and YOLO; it warns once that it does without OpenCV."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("supervision")


@pytest.mark.parametrize("kind", ["labelme", "yolo"])
def test_another_library_reads_boxes_masks_and_types(
    kind: str, supervision: Any, cells: Cells, picture: ImageSource, tmp_path: Path
) -> None:
    suffix, write = WRITERS[kind]
    types = pd.DataFrame({"cell_type": ["burr", None]})
    write(cells, types, ("a.png", SHAPE), tmp_path / "labels" / f"a{suffix}")
    (tmp_path / "data.yaml").write_text("names: [cell]\n")
    places = str(tmp_path), str(tmp_path / "labels"), str(tmp_path / "data.yaml")
    read = supervision.DetectionDataset
    data = read.from_labelme(*places[:2]) if kind == "labelme" else read.from_yolo(*places)
    found = data.annotations[str(picture.path)]
    np.testing.assert_allclose(found.xyxy, cells.boxes[:, [1, 0, 3, 2]], atol=1e-3)
    assert [data.classes[row] for row in found.class_id] == (
        ["burr", "cell"] if kind == "labelme" else ["cell"] * 2
    )
    assert found.mask.shape == (2, *SHAPE)
    assert found.mask[1].sum() == 33 * 31  # it fills corners, too


@pytest.mark.parametrize("kind", ["labelme", "yolo"])
def test_what_another_library_writes_is_read(
    kind: str, supervision: Any, cells: Cells, picture: ImageSource, tmp_path: Path
) -> None:
    boxes = cells.boxes[:, [1, 0, 3, 2]]
    found = {str(picture.path): supervision.Detections(boxes, class_id=np.array([1, 0]))}
    data = supervision.DetectionDataset(["cell", "burr"], list(found), found)
    if kind == "labelme":
        data.as_labelme(annotations_directory_path=str(tmp_path / kind))
        again = read_labelme(tmp_path / kind / "a.json")
        assert again.records[0] == {"cell_type": "burr"}
    else:
        data.as_yolo(annotations_directory_path=str(tmp_path / kind))
        again = read_yolo(tmp_path / kind / "a.txt", SHAPE)
    np.testing.assert_allclose(again.cells.boxes, cells.boxes, atol=1e-3)


def test_yolo_is_in_shares_of_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.2 0.1\n3 0.1 0.2 0.1 0.1 0.75\n1 0 0 0.5 0 0.5 0.5\n")
    found = read_yolo(path, (100, 200))
    np.testing.assert_allclose(found.cells.boxes[0], [45, 80, 55, 120], atol=1e-3)
    np.testing.assert_allclose(found.cells.boxes[2], [0, 0, 50, 100], atol=1e-3)
    np.testing.assert_allclose(found.cells.detection_score[1], 0.75)
    path.write_text("0 0.5 0.5\n")
    with pytest.raises(AmilError, match="is no label file of YOLO"):
        read_yolo(path, (100, 200))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels/train/classes.txt", "cell\nburr\ntarget\n"),
        ("labels/obj.names", "cell\nburr\ntarget"),
        ("data.yaml", "names: [cell, burr, target]\n"),
        ("dataset.yaml", "nc: 3\nnames:\n  2: target\n  1: burr\n"),
    ],
)
def test_classes_of_yolo_have_the_names_of_the_nearest_file(
    file: str, text: str, cells: Cells, tmp_path: Path
) -> None:
    path = tmp_path / "labels" / "train" / "a.txt"
    types = pd.DataFrame({"cell_type": ["target", None]})
    write_yolo(cells, types, ("a.png", SHAPE), path, ("cell", "burr", "target"))
    assert [line.split()[0] for line in path.read_text().splitlines()] == ["2", "0"]
    assert read_yolo(path, SHAPE).records == ({}, {})
    (tmp_path / file).write_text(text)
    assert read_yolo(path, SHAPE).records == ({"cell_type": "target"}, {})
    (path.parent / "data.yaml").write_text("names: [")
    with pytest.raises(AmilError, match=r"data\.yaml' holds no names of YOLO's classes"):
        read_yolo(path, SHAPE)


def test_a_pickle_of_cellpose_is_refused_with_the_way_round_it(picture: ImageSource, tmp_path: Path) -> None:
    np.save(tmp_path / "a_seg.npy", np.array({"masks": 1}, dtype=object), allow_pickle=True)
    failed: list[object] = []
    assert drain(read_annotations(tmp_path, {"a.png": picture}), failed.append) == {}
    reasons = [event.reason for event in failed if isinstance(event, Failed)]
    assert len(reasons) == 1
    assert "never opened" in reasons[0]
    assert "_cp_masks" in reasons[0]


def test_one_damaged_roi_or_line_costs_only_itself(cells: Cells, tmp_path: Path) -> None:
    path = tmp_path / "RoiSet.zip"
    write_rois(cells, None, ("a.png", (40, 50)), path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("__MACOSX/._1.roi", b"Mac OS X")
        file.writestr("readme.txt", b"hello")
        file.writestr("bad.roi", b"Iout")
    found = read_rois(path)
    assert (len(found.cells), dict(found.left_out)) == (len(cells), {"damaged": 1})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("readme.txt", b"hello")
    with pytest.raises(AmilError, match="it holds no ROI"):
        read_rois(path)
    path = tmp_path / "a.txt"
    path.write_text("0 .5 .5 .2 .2\n0 .5\n# note\n")
    found = read_yolo(path, (40, 50))
    assert (len(found.cells), dict(found.left_out)) == (1, {"damaged": 2})
    path.write_text("0 0,5 0,5 0,2 0,2\n")
    with pytest.raises(AmilError, match="its first line is '0 0,5 0,5 0,2 0,2'"):
        read_yolo(path, (40, 50))


def test_a_size_that_labelme_does_not_know_is_unknown(cells: Cells, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_labelme(cells, None, ("a.png", (40, 50)), path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "imageHeight": None}))
    assert read_labelme(path).shape is None
