"""Names of cells from a table, or from the classes that another program gave to cells."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event
from napari_amil.core.cell_types.named_cells import NAME
from napari_amil.core.exchange.annotation_files import read_annotations
from napari_amil.core.exchange.geojson import ANOMALOUS_CELL, CELL
from napari_amil.core.exchange.project import Project
from napari_amil.core.exchange.tables import load_table
from napari_amil.core.images.read import ImageSource

_TABLES = (".csv", ".parquet")
_NO_TYPE = frozenset({CELL["name"], ANOMALOUS_CELL["name"], ""})


def read_names(project: Project, place: Path) -> Generator[Event, None, pd.DataFrame]:
    """Return the table ``image, cell_type`` and the id or box of named cells.

    Parameters
    ----------
    project
        A scored folder, whose images the names belong to.
    place
        A table, or what `read_annotations` reads: a file or folder of QuPath (its classes), LabelMe (its
        labels), YOLO (the names of its classes) or COCO with ``cell_type`` among its attributes.

    Raises
    ------
    AmilError
        If the place cannot be read, or no cell there has a class.
    """
    if place.suffix.lower() in _TABLES:
        return load_table(place)
    names = [str(name) for name in project.cells["image"].unique()]
    images = {name: ImageSource(*project.image_file(name), name) for name in names}
    found = yield from read_annotations(place, images)
    tables = []
    for image, annotation in found.items():
        types = [class_of(record) for record in annotation.records]
        if types:
            boxes = pd.DataFrame(annotation.cells.boxes, columns=BOX_COLUMNS)
            tables.append(boxes.assign(image=image, **{NAME: types}))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["image", NAME])
    table = table[table[NAME] != ""].reset_index(drop=True)
    if not len(table):
        raise AmilError(
            f"No cell in '{place}' has a class; give cells classes in QuPath, labels in LabelMe, a "
            f"data.yaml to YOLO, or a table with the columns image, {NAME}, and cell_id or y0, x0, y1, x1."
        )
    return table


def class_of(record: Mapping[str, Any]) -> str:
    """Return the class that a program gave to a cell, ``""`` without one; derived ones with a colon."""
    given = record.get(NAME)
    if not isinstance(given, str):
        stored = record.get("classification")
        given = (stored.get("name") or stored.get("names")) if isinstance(stored, dict) else stored
        given = ": ".join(map(str, given)) if isinstance(given, list) else given
    name = given.strip() if isinstance(given, str) else ""
    return "" if name in _NO_TYPE else name
