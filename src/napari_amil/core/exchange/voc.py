"""Boxes in Pascal VOC's XML, as LabelImg and many data sets have them: one file per image."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import regular_file
from napari_amil.core.base.types import Cells

_SIDES = ("ymin", "xmin", "ymax", "xmax")


def read_voc(path: Path, classes: Collection[str] = ()) -> Cells:
    """Return the boxes of the objects of one image; pixels count from 1, and the last belongs to the box.

    Parameters
    ----------
    path
        The XML file.
    classes
        Names of the objects that are cells; all objects where there is none.

    Raises
    ------
    AmilError
        If the file is no such XML, or a box has no area.
    """
    try:
        root = ElementTree.parse(regular_file(path)).getroot()
        found = [item for item in root.iter("object") if not classes or item.findtext("name") in classes]
        sides = [[float(item.findtext(f"bndbox/{side}", "")) for side in _SIDES] for item in found]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise AmilError(
            f"'{path}' is no Pascal VOC file with a bndbox for each object ({error}); export it again."
        ) from error
    if root.tag != "annotation":
        raise AmilError(f"'{path}' is no Pascal VOC file: it begins with <{root.tag}>, not <annotation>.")
    boxes = np.array(sides, dtype=np.float32).reshape(-1, 4) - np.array([1, 1, 0, 0], dtype=np.float32)
    try:
        return Cells(boxes)
    except ValueError as error:
        raise AmilError(f"'{path}' holds a box that cannot be used: {error}") from error
