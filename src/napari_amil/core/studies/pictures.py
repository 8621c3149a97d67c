"""Read fields of a scored folder, and lay out pictures of its cells side by side."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as PillowImage

from napari_amil.core.base.columns import BOX_COLUMNS, PLACE_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed
from napari_amil.core.base.types import Image
from napari_amil.core.evaluation.contact_sheet import contact_sheet, cut
from napari_amil.core.exchange.project import Project
from napari_amil.core.images.fields import ArrayField, Field, is_large, open_field
from napari_amil.core.instances.executor import SERIAL, Executor, map_fields

_SIDE_PX, _COLUMNS, _FIELD_OF_CELL = 96, 8, 1.5
_KEPT = 24  # fields in memory

Result = TypeVar("Result")
Caption = Callable[[pd.Series], str]
Squares = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Boxes ``(n, 4)`` of cells, and the sides ``(n,)`` of the squares around them, in pixels."""


class Fields:
    """The fields of a project, a few of them kept; one that cannot be read is reported once and left out.

    Of a field too large to be treated in one piece only the wanted cells are read.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._kept: OrderedDict[str, ArrayField] = OrderedDict()
        self._lost: set[str] = set()

    def read(self, image: str) -> Generator[Event, None, Image | None]:
        """Return a field, or None where it cannot be read or is too large for one picture."""
        found = yield from self._using(image, lambda field: None if is_large(field.shape) else _whole(field))
        return found

    def cut(
        self, image: str, boxes: NDArray[np.floating], sides_px: NDArray[np.integer]
    ) -> Generator[Event, None, list[Image] | None]:
        """Return the squares around some boxes ``(n, 4)`` of a field, None where it cannot be read."""

        def squares(field: Field) -> list[Image]:
            return [_cut(field, box, int(side)) for box, side in zip(boxes, sides_px, strict=True)]

        found = yield from self._using(image, squares)
        return found

    def _using(self, image: str, look: Callable[[Field], Result]) -> Generator[Event, None, Result | None]:
        """Return the result of ``look`` for the field of an image; None if it cannot be read."""
        if image in self._lost:
            return None
        if image in self._kept:
            self._kept.move_to_end(image)
            return look(self._kept[image])
        try:
            with open_field(*self._project.image_file(image)) as field:
                if isinstance(field, ArrayField) and not is_large(field.shape):
                    self._kept[image] = field
                    while len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
                return look(field)
        except AmilError as error:
            yield Failed(image, str(error))
            self._lost.add(image)
            return None


def _whole(field: Field) -> Image:
    height, width = field.shape
    return field.window(slice(0, height), slice(0, width))


def _cut(field: Field, box: NDArray[np.floating], side_px: int) -> Image:
    """Return a square around a box of a field (`cut`), of which no more than that is read."""
    limits = np.array(field.shape)
    first = np.clip(np.floor((box[:2] + box[2:] - side_px) / 2) - 1, 0, limits - 1).astype(int)
    last = np.clip(first + side_px + 3, 1, limits)
    part = field.window(slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1])))
    return cut(part, box - np.tile(first, 2), side_px)


def most_unusual(cells: pd.DataFrame, most: int) -> NDArray[np.int64]:
    """Return the rows of the most anomalous cells, the most anomalous first, each cell once."""
    scored = cells[cells["anomaly"].notna()].sort_values("anomaly", ascending=False, kind="stable")
    return np.asarray(scored.drop_duplicates(PLACE_COLUMNS).index[:most], dtype=np.int64)


def cell_sheet(
    project: Project, fields: Fields, rows: NDArray[np.int64], title: str, caption: Caption
) -> Generator[Event, None, Image | None]:
    """Return some cells side by side in the order of ``rows``; None where no field can be read."""
    crops: dict[int, Image] = {}
    for image, (own, boxes, sides) in _wanted(project, rows).items():
        squares = yield from fields.cut(image, boxes, sides)
        crops |= zip(own, _same_size(squares or []), strict=False)
    return sheet_of(project, crops, rows, title, caption)


def cut_cells(
    project: Project, rows: NDArray[np.int64], executor: Executor = SERIAL
) -> Generator[Event, None, dict[int, Image]]:
    """Return the squares around some cells by row, all of one size; each field is read once.

    Cells of a field that cannot be read, for which a `Failed` is yielded, are left out.
    """
    wanted = _wanted(project, rows)
    work = partial(_cut_field, project=project.rows(np.zeros(0, dtype=np.int64)))
    items = {image: (boxes, sides) for image, (_, boxes, sides) in wanted.items()}
    done = yield from map_fields(work, items, "explore", executor)
    own = [row for image in done for row in wanted[image][0]]
    return dict(zip(own, itertools.chain.from_iterable(done.values()), strict=True))


def _cut_field(image: str, item: Squares, project: Project) -> Generator[Event, None, list[Image]]:
    """Return the squares around some boxes of a field, all of one size."""
    yield from ()
    with open_field(*project.image_file(image)) as field:
        return _same_size([_cut(field, box, int(side)) for box, side in zip(*item, strict=True)])


def _same_size(squares: Sequence[Image]) -> list[Image]:
    shown = (PillowImage.fromarray(square).resize((_SIDE_PX, _SIDE_PX)) for square in squares)
    return [np.asarray(square) for square in shown]


def sheet_of(
    project: Project, crops: Mapping[int, Image], rows: NDArray[np.int64], title: str, caption: Caption
) -> Image | None:
    """Return squares around cells side by side in the order of ``rows``; None where there is none of them."""
    shown = [int(row) for row in rows if row in crops]
    if not shown:
        return None
    texts = [caption(project.cells.iloc[row]) for row in shown]
    return contact_sheet([crops[row] for row in shown], texts, _COLUMNS, title)


def _wanted(project: Project, rows: NDArray[np.int64]) -> dict[str, tuple[list[int], *Squares]]:
    """Return for each image of some cells their rows, their boxes, and the sides of squares around them."""
    wanted: dict[str, tuple[list[int], *Squares]] = {}
    images = project.cells["image"].to_numpy()[rows]
    for image in dict.fromkeys(images):
        own = rows[images == image]
        boxes = project.cells[BOX_COLUMNS].iloc[own].to_numpy(dtype=np.float64)
        sides = np.rint(_FIELD_OF_CELL * (boxes[:, 2:] - boxes[:, :2]).max(axis=1)).astype(int)
        wanted[str(image)] = own.tolist(), boxes, sides
    return wanted


def distance_caption(cell: pd.Series) -> str:
    """Return the distance of a cell and, where it is known, its type."""
    kind = cell.get("cell_type")
    return f"d = {cell['anomaly']:.1f}" + (f"\n{kind}" if isinstance(kind, str) and kind else "")
