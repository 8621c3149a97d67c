"""Types that a person names cells by, a key for each; names and scores of all open images together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QCoreApplication, QObject, Signal

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import box_outline
from napari_amil.core.exchange.project import Project
from napari_amil.plugin.layers.cell_layer import cell_layers, need_record
from napari_amil.plugin.layers.edits import set_cell_type
from napari_amil.plugin.layers.evidence import evidence_of
from napari_amil.plugin.layers.rows import CELL_TYPE, TYPE, TYPE_PROBABILITY, complete, write_features
from napari_amil.plugin.layers.selection import CellKey, rows_of
from napari_amil.plugin.window.user_settings import remember, remembered_list
from napari_amil.plugin.window.viewer import PerViewer

MOST = 9
"""Types that have a key."""
NAME_COLUMNS = ["image", "cell_id", *BOX_COLUMNS, CELL_TYPE]
_KEPT = "types/names"


class TypeKeys(QObject):
    """The types of one viewer; the first nine have the keys 1 to 9."""

    changed = Signal()
    """Another list of types."""
    named = Signal()
    """Cells were named."""
    typed = Signal(str)
    """Every cell of the scored folder has a predicted type; empty for the open images."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.names = remembered_list(_KEPT)

    def of_key(self, number: int) -> str:
        """Return the type of a key; empty where there is none."""
        return self.names[number - 1] if 0 < number <= min(len(self.names), MOST) else ""

    def add(self, name: str) -> None:
        """Put a type at the end of the list, if it is not there yet."""
        name = " ".join(name.split())
        if name and name not in self.names:
            self._set([*self.names, name])

    def remove(self, name: str) -> None:
        """Take a type from the list; cells keep the name."""
        self._set([other for other in self.names if other != name])

    def _set(self, names: list[str]) -> None:
        self.names = names
        remember(_KEPT, "\n".join(names))
        self.changed.emit()


type_keys = PerViewer(lambda _: TypeKeys(QCoreApplication.instance()))
"""The types of a viewer; every panel and layer of it gets the same."""


def name_open_cells(viewer: ViewerModel, keys: Iterable[CellKey], name: str) -> int:
    """Give cells of open images a type, and return how many there were."""
    wanted, n_named = list(keys), 0
    for layer in cell_layers(viewer.layers):
        rows = rows_of(layer, wanted)
        if rows:
            set_cell_type(layer, rows, name)
            n_named += len(rows)
    if n_named:
        type_keys(viewer).named.emit()
    return n_named


def open_names(layers: Iterable[Any]) -> pd.DataFrame:
    """Return the names that were given to cells of open images: image, cell, box and type."""
    parts = []
    for layer in cell_layers(layers):
        table = layer.features.iloc[: layer.nshapes]
        if CELL_TYPE in table:
            parts.append(table[table[CELL_TYPE].fillna("").ne("")][NAME_COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=NAME_COLUMNS)


def open_project(layers: Iterable[Any]) -> Project:
    """Return the scored cells of open images as a scored folder holds them, an image as a sample.

    Raises
    ------
    AmilError
        If no image is scored, or they were scored by several models.
    """
    tables, embeddings, models = [], [], set()
    for layer in cell_layers(layers):
        evidence = evidence_of(layer)
        if evidence is None:
            continue
        table = layer.features.iloc[: layer.nshapes]
        row_of = {int(number): row for row, number in enumerate(evidence.arrays["cell_id"])}
        known = table["cell_id"].isin(row_of).to_numpy() & table["status"].eq("scored").to_numpy()
        if known.any():
            own = table[known]
            tables.append(own.assign(bag=need_record(layer).image_name))
            embeddings.append(evidence.arrays["z"][[row_of[int(number)] for number in own["cell_id"]]])
            models.add(evidence.model_sha256)
    if not tables:
        raise AmilError("No open image is scored; press Find and score, or choose a scored folder above.")
    if len(models) > 1:
        raise AmilError("The open images were scored by several models; score them all by one.")
    cells = pd.concat(tables, ignore_index=True).drop(columns=[TYPE, TYPE_PROBABILITY], errors="ignore")
    names = list(dict.fromkeys(cells["bag"]))
    bags = pd.DataFrame({"bag": names, "patient": names})
    outlines = tuple(box_outline(box) for box in cells[BOX_COLUMNS].to_numpy(np.float32))
    card = {"bundle": {"sha256": models.pop()}}
    return Project(cells, bags, np.concatenate(embeddings).astype(np.float32), outlines, card)


def show_types(layer: Shapes, types: pd.DataFrame) -> int:
    """Write predicted types into the features of a layer, and return how many of its cells have one.

    Parameters
    ----------
    types
        With ``image``, ``cell_id``, ``type`` and ``type_probability``.
    """
    record = need_record(layer)
    own = types[types["image"] == record.image_name].drop_duplicates("cell_id").set_index("cell_id")
    table = layer.features.iloc[: layer.nshapes]
    of_cell = own.reindex(table["cell_id"])
    names = of_cell[TYPE].fillna("").to_numpy(object)
    probability = of_cell[TYPE_PROBABILITY].to_numpy(np.float64)
    table = table.assign(**{TYPE: names, TYPE_PROBABILITY: probability})
    write_features(layer, record, complete(table, layer.nshapes, record))
    return int((names != "").sum())
