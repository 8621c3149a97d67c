"""Cells of a scored folder to look at: each field is read once while it is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as PillowImage

from napari_amil.core.errors import AmilError
from napari_amil.core.evaluation.contact_sheet import contact_sheet, cut
from napari_amil.core.events import Event, Failed
from napari_amil.core.exchange.project import BOX, Project
from napari_amil.core.images.read import read_image
from napari_amil.core.types import Image

_SIDE_PX, _COLUMNS, _FIELD_OF_CELL = 96, 8, 1.5
_KEPT = 24  # fields in memory


class Fields:
    """The fields of a project, a few of them kept; one that cannot be read is said once and left out."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._kept: OrderedDict[str, Image | None] = OrderedDict()

    def read(self, image: str) -> Generator[Event, None, Image | None]:
        """Return a field, or None where it cannot be read."""
        if image not in self._kept:
            try:
                self._kept[image] = read_image(*self._project.image_file(image))
            except AmilError as error:
                yield Failed(image, str(error))
                self._kept[image] = None
        self._kept.move_to_end(image)
        found = self._kept[image]
        readable = [name for name, field in self._kept.items() if field is not None]
        for name in readable[: max(len(readable) - _KEPT, 0)]:
            del self._kept[name]
        return found


def most_unusual(cells: pd.DataFrame, most: int) -> NDArray[np.int64]:
    """Return the rows of the most anomalous cells, the most anomalous first, each cell once."""
    scored = cells[cells["anomaly"].notna()].sort_values("anomaly", ascending=False, kind="stable")
    return np.asarray(scored.drop_duplicates(["image", *BOX]).index[:most], dtype=np.int64)


def cell_sheet(
    project: Project, fields: Fields, rows: NDArray[np.int64], title: str, caption: Callable[[pd.Series], str]
) -> Generator[Event, None, Image | None]:
    """Return some cells side by side in the order of ``rows``; None where no field can be read."""
    shown: dict[int, tuple[Image, str]] = {}
    chosen = project.cells.iloc[rows]
    for image, part in chosen.groupby("image", sort=False):
        field = yield from fields.read(str(image))
        if field is None:
            continue
        for row, cell in part.iterrows():
            box = cell[BOX].to_numpy(dtype=np.float64)
            side = round(_FIELD_OF_CELL * max(box[2] - box[0], box[3] - box[1]))
            crop = PillowImage.fromarray(cut(field, box, side)).resize((_SIDE_PX, _SIDE_PX))
            shown[row] = np.asarray(crop), caption(cell)
    ordered = [shown[row] for row in chosen.index if row in shown]
    if not ordered:
        return None
    return contact_sheet([crop for crop, _ in ordered], [text for _, text in ordered], _COLUMNS, title)


def distance_caption(cell: pd.Series) -> str:
    """Return the distance of a cell and, where it is known, its type."""
    kind = cell.get("cell_type")
    return f"d = {cell['anomaly']:.1f}" + (f"\n{kind}" if isinstance(kind, str) and kind else "")
