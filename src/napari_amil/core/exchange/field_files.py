"""Cells of one image as files of other programs: label image, ImageJ RoiSet, LabelMe."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding, read_json, replacing
from napari_amil.core.base.optional import optional
from napari_amil.core.base.outputs import write_json
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.annotation import Annotation, FoundObject, NoCellError
from napari_amil.core.exchange.labels import labels_of_cells
from napari_amil.core.exchange.polygons import bounds, outline_of, ring
from napari_amil.core.exchange.yolo import CELL_NAME, checked, names_of, write_yolo

_LARGEST_SET_BYTES = 1 << 28
Writer = Callable[[Cells, "pd.DataFrame | None", tuple[str, tuple[int, int]], Path], None]
"""Writes the cells of an image, with one row of scores per cell or None, its name and shape, to a file."""


def write_labels(
    cells: Cells, scores: pd.DataFrame | None, image: tuple[str, tuple[int, int]], path: Path
) -> None:
    """Write a label image of 16 bits, or 32 where an id needs them (`labels_of_cells`)."""
    labels = labels_of_cells(cells, image[1])
    small = labels.max(initial=0) <= np.iinfo(np.uint16).max
    with replacing(path) as partial:
        tifffile.imwrite(partial, labels.astype(np.uint16) if small else labels, compression="zlib")


def write_rois(
    cells: Cells, scores: pd.DataFrame | None, image: tuple[str, tuple[int, int]], path: Path
) -> None:
    """Write a ``RoiSet.zip`` for the ROI Manager of ImageJ: one polygon a cell, called by its id and type.

    Raises
    ------
    MissingExtraError
        If roifile is not installed.
    """
    roifile = optional("roifile")
    names = names_of(cells, scores)
    rois = [
        roifile.ImagejRoi.frompoints(np.array(ring(outline, box), np.float32), name=f"{number:04}-{name}")
        for number, name, outline, box in zip(cells.cell_id, names, cells.outlines, cells.boxes, strict=True)
    ]
    with replacing(path) as partial:
        named = partial.with_name(f"{partial.name}.zip")
        roifile.roiwrite(named, rois, mode="w")
        named.replace(partial)


def read_rois(path: Path) -> Annotation:
    """Return the cells of a RoiSet.zip or a .roi of ImageJ; lines and points are left out and counted.

    Raises
    ------
    AmilError
        If the file cannot be read, or none of its ROIs is a cell.
    MissingExtraError
        If roifile is not installed.
    """
    roifile = optional("roifile")
    kinds = roifile.ROI_TYPE
    no_area = {kinds.POINT, kinds.LINE, kinds.POLYLINE, kinds.FREELINE, kinds.ANGLE, kinds.NOROI}
    with decoding(path, "is no RoiSet of ImageJ", "save it again with More > Save in the ROI Manager"):
        stored = _stored_rois(path)
        if stored and not any(content.startswith(b"Iout") for content in stored):
            raise ValueError("it holds no ROI")

    def found(content: bytes) -> FoundObject:
        roi = roifile.ImagejRoi.frombytes(content)
        if roi.roitype in no_area:
            raise NoCellError("a line or point")
        outline = outline_of(np.asarray(roi.coordinates()).tolist())
        return FoundObject(bounds(outline), outline, record={"name": roi.name})

    return checked(path, Annotation.from_objects(stored, found))


def _stored_rois(path: Path) -> list[bytes]:
    """Return the bytes of each ROI of a ``.roi`` or ``.zip``, in which other files may lie, too."""
    if path.suffix.lower() != ".zip":
        with path.open("rb") as stream:
            return [stream.read(_LARGEST_SET_BYTES)]
    with zipfile.ZipFile(path) as file:
        members = [one for one in file.infolist() if one.filename.lower().endswith(".roi")]
        own = [one for one in members if not PurePosixPath(one.filename).name.startswith("._")]  # of macOS
        if not own and file.infolist():
            raise ValueError("it holds no ROI")
        if sum(one.file_size for one in own) > _LARGEST_SET_BYTES:
            raise ValueError(f"it claims {sum(one.file_size for one in own):,} bytes of ROIs")
        return [file.read(one) for one in own]


def write_labelme(
    cells: Cells, scores: pd.DataFrame | None, image: tuple[str, tuple[int, int]], path: Path
) -> None:
    """Write a JSON file of LabelMe: one polygon a cell, its id as the group, its type as the label."""
    name, (height, width) = image
    shapes: list[dict[str, Any]] = [
        {
            "label": label,
            "points": ring(outline, box),
            "group_id": int(number),
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for number, label, outline, box in zip(
            cells.cell_id, names_of(cells, scores), cells.outlines, cells.boxes, strict=True
        )
    ]
    size = {"imageHeight": height, "imageWidth": width}
    picture = {"imagePath": Path(name).name, "imageData": None}
    write_json({"version": "5.5.0", "flags": {}, "shapes": shapes, **picture, **size}, path)


def is_labelme(path: Path) -> bool:
    """Return whether a JSON file is one of LabelMe."""
    try:
        content = read_json(path)
    except AmilError:
        return False
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def read_labelme(path: Path) -> Annotation:
    """Return the polygons, rectangles and circles of a LabelMe file.

    Raises
    ------
    AmilError
        If the file is damaged, or none of its shapes is a cell.
    """
    content = read_json(path)
    with decoding(path, "is no file of LabelMe"):
        sides = content.get("imageHeight"), content.get("imageWidth")
        shape = None if None in sides else (int(sides[0]), int(sides[1]))
        found = Annotation.from_objects(content["shapes"], _labelme_shape)
    annotation = Annotation(found.cells, shape=shape, left_out=found.left_out, records=found.records)
    return checked(path, annotation)


def _labelme_shape(shape: dict[str, Any]) -> FoundObject:
    points, kind = np.asarray(shape["points"], np.float64), shape.get("shape_type", "polygon")
    record = {"cell_type": shape["label"]} if shape.get("label") not in {None, "", CELL_NAME} else {}
    number = shape.get("group_id")
    columns = {"cell_id": float(number)} if isinstance(number, int) else {}
    if kind == "rectangle":
        low, high = points[:, ::-1].min(axis=0), points[:, ::-1].max(axis=0)
        return FoundObject(np.concatenate([low, high]).astype(np.float32), None, columns, record)
    if kind == "circle":
        angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        radius = np.linalg.norm(points[1] - points[0])
        points = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind != "polygon":
        raise NoCellError("a line or point")
    outline = outline_of(points.tolist())
    return FoundObject(bounds(outline), outline, columns, record)


def refuse_cellpose(path: Path) -> Annotation:
    """Refuse a ``_seg.npy`` of Cellpose, which is a pickle.

    Raises
    ------
    AmilError
        Always; it says how to save the masks so that they can be read.
    """
    raise AmilError(
        f"'{path}' is a pickle, which can run any program and is never opened; in Cellpose choose File > "
        "Save masks as PNG/tif (or call cellpose.io.save_masks), and give its _cp_masks file."
    )


WRITERS: dict[str, tuple[str, Writer]] = {
    "labels": ("_masks.tif", write_labels),
    "imagej": ("_rois.zip", write_rois),
    "labelme": (".json", write_labelme),
    "yolo": (".txt", write_yolo),
}
"""``format -> end of the name of the file of an image, writer``."""
