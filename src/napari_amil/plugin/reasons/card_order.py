"""In which order cells are walked through: by any score, over all open images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from napari.layers import Shapes

from napari_amil.core.base.columns import column_of
from napari_amil.plugin.layers.colour_scale import known_score_columns
from napari_amil.plugin.layers.selection import CellKey, keys_of


class Order(NamedTuple):
    """A column of the features, from its highest value down or from its lowest up."""

    column: str
    falling: bool
    name: str


UNUSUAL = Order("anomaly", True, "Most unusual first")
NUMBERED = Order("cell_id", False, "By number")
_FIRST = (
    UNUSUAL,
    Order("anomaly", False, "Most ordinary first"),
    Order("anomaly_percentile_se", True, "Least sure percentile first"),
    Order("detection_score", False, "Least sure detection first"),
)


def orders(table: pd.DataFrame) -> list[Order]:
    """Return the orders that the columns of ``table`` allow, the most useful first."""
    known = [order for order in _FIRST if order.column in table and table[order.column].notna().any()]
    named = {order.column for order in known if order.falling}
    scores = [name for name in known_score_columns(table) if name not in named]
    return [
        *known,
        *(Order(name, True, f"{column_of(name).title}, highest first") for name in scores),
        NUMBERED,
    ]


def ordered_cells(layers: Iterable[Shapes], order: Order) -> list[CellKey]:
    """Return the cells of all ``layers`` that have a value in this order; left out are excluded ones."""
    keys: list[CellKey] = []
    values: list[float] = []
    for layer in layers:
        table = layer.features
        if order.column not in table:
            continue
        column = table[order.column].to_numpy(float)
        rows = np.flatnonzero(np.isfinite(column) & ~table["status"].eq("excluded").to_numpy(bool))
        keys += keys_of(layer, rows.tolist())
        values += column[rows].tolist()
    ranked = np.argsort(-np.array(values) if order.falling else np.array(values), kind="stable")
    return [keys[i] for i in ranked]


def neighbour_in(keys: list[CellKey], current: CellKey | None, by: int) -> CellKey | None:
    """Return the cell ``by`` places after ``current``, round the ends; the first where it is not there."""
    if not keys:
        return None
    if current not in keys:
        return keys[0] if by > 0 else keys[-1]
    return keys[(keys.index(current) + by) % len(keys)]
