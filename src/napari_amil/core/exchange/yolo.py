"""Cells of one image as a label file of YOLO, with the names of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from napari_amil.core.base.files import decoding, regular_file, replacing
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.annotation import Annotation, FoundObject, refuse_without_cells
from napari_amil.core.exchange.polygons import bounds, outline_of, ring
from napari_amil.core.images.pixel_size import to_number

CELL_NAME = "cell"
"""Class of a cell that has no ``cell_type``."""
CLASSES = "classes.txt"
"""File of the names of classes, one a line, the first of class 0."""
_CLASS_FILES = ("data.yaml", "dataset.yaml", CLASSES, "obj.names")
_N_FOLDERS = 4


def names_of(cells: Cells, scores: pd.DataFrame | None) -> list[str]:
    """Return the type of each cell, or ``cell``."""
    if scores is None or "cell_type" not in scores:
        return [CELL_NAME] * len(cells)
    return [text if isinstance(text, str) and text else CELL_NAME for text in scores["cell_type"]]


def checked(path: Path, annotation: Annotation) -> Annotation:
    """Return the cells of a file.

    Raises
    ------
    AmilError
        If none of its objects is a cell.
    """
    refuse_without_cells(str(path), len(annotation.cells), annotation.left_out)
    return annotation


def write_yolo(
    cells: Cells,
    scores: pd.DataFrame | None,
    image: tuple[str, tuple[int, int]],
    path: Path,
    classes: Sequence[str] = (CELL_NAME,),
) -> None:
    """Write a label file of YOLO: one line a cell, its class and its polygon in shares of width and height.

    Parameters
    ----------
    classes
        Types in the order of their numbers; a cell of another type, or of none, is of class 0.
    """
    height, width = image[1]
    numbers = {name: number for number, name in enumerate(classes)}
    lines = []
    for name, outline, box in zip(names_of(cells, scores), cells.outlines, cells.boxes, strict=True):
        points = np.clip(np.array(ring(outline, box)) / (width, height), 0, 1)
        lines.append(" ".join([str(numbers.get(name, 0)), *(f"{value:.6f}" for value in points.ravel())]))
    with replacing(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_yolo(path: Path, shape: tuple[int, int]) -> Annotation:
    """Return the cells of a label file of YOLO, boxes or polygons, of any class.

    Parameters
    ----------
    path
        ``class x y width height [score]``, or ``class x y x y x y ...``, in shares of the image. The names of
        the classes are those of ``data.yaml``, ``dataset.yaml``, ``classes.txt`` or ``obj.names`` beside the
        file or in one of the three folders above.
    shape
        Height and width of the image in pixels.

    Raises
    ------
    AmilError
        If a line is neither, none is a cell, or the names cannot be read.
    """
    height, width = shape

    def found(words: list[str]) -> FoundObject:
        numbers = [float(word) for word in words]
        name = names.get(int(numbers[0]), "")
        record = {"cell_type": name} if name not in {"", CELL_NAME} else {}
        if len(numbers) in {5, 6}:
            x, y, w, h = np.array(numbers[1:5]) * (width, height, width, height)
            box = np.array([y - h / 2, x - w / 2, y + h / 2, x + w / 2], np.float32)
            return FoundObject(box, None, dict(zip(["detection_score"], numbers[5:], strict=False)), record)
        points = np.array(numbers[1:]).reshape(-1, 2) * (width, height)
        outline = outline_of(points.tolist())
        return FoundObject(bounds(outline), outline, record=record)

    remedy = "each line is 'class x y width height' or 'class x y x y x y ...' in shares of the image"
    with decoding(path, "is no label file of YOLO", remedy):
        text = regular_file(path).read_text(encoding="utf-8")
        rows = [line.split() for line in text.splitlines() if line.strip()]
        wrong = [row for row in rows if not _is_yolo(row)]
        if wrong and len(wrong) == len(rows):
            raise ValueError(f"its first line is '{' '.join(wrong[0])}'")
    names = _class_names(path)
    return checked(path, Annotation.from_objects(rows, found))


def _is_yolo(words: list[str]) -> bool:
    """Return whether the words of a line are numbers, as many as a box or a polygon has."""
    n_words = len(words)
    fits = n_words in {5, 6} or (n_words >= 7 and n_words % 2 == 1)
    return fits and all(to_number(word) is not None and "," not in word for word in words)


def _class_names(path: Path) -> dict[int, str]:
    """Return the names of the classes by their numbers, from the nearest file above; none without one."""
    folders = list(path.absolute().parents)[:_N_FOLDERS]
    for file in (folder / name for folder in folders for name in _CLASS_FILES):
        if not file.is_file():
            continue
        with decoding(file, "holds no names of YOLO's classes", "write 'names: [burr, target]'"):
            text = regular_file(file).read_text(encoding="utf-8")
            if file.suffix != ".yaml":
                return dict(enumerate(line.strip() for line in text.splitlines()))
            content = yaml.safe_load(text)
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, dict | list):
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name).strip() for number, name in pairs}
    return {}
