"""Colours of the points of an embedding map by category, and their drawing order."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba_array
from numpy.typing import NDArray

KINDS = ("label", "verdict", "patient", "bag", "cell_type")
"""Columns of names that can colour a map."""
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
_REST = "#7F7F7F"
_SHADES = 20
"""Steps of red, green and blue that a point's colour is rounded to."""
_UNUSUAL_Q, _UNUSUAL_PERCENTILE, _SMALL_GROUP = 0.05, 97.5, 0.01


def with_kinds(cells: pd.DataFrame, bags: pd.DataFrame) -> pd.DataFrame:
    """Return the table of cells with the columns of their bags."""
    known = bags.set_index("bag")
    columns = {
        name: cells["bag"].map(known[name]) for name in ("label", "verdict", "patient") if name in known
    }
    return cells.assign(**columns)


def kind_colours(names: pd.Series) -> tuple[NDArray[np.float64], dict[str, str]]:
    """Return a colour ``(n, 4)`` per name and a legend; beyond the seven most frequent all are grey.

    Colours can be told apart with every common colour blindness (Okabe and Ito).
    """
    filled = names.astype(object).where(names.notna() & (names != ""), "unknown").astype(str)
    frequent = [name for name in filled.value_counts().index if name != "unknown"][: len(_COLOURS)]
    colour_of = dict(zip(frequent, _COLOURS, strict=False))
    number, different = pd.factorize(filled)
    colours = to_rgba_array([colour_of.get(name, _REST) for name in different])[number]
    rest = len(set(filled) - set(frequent))
    return colours, colour_of | ({"all others": _REST} if rest else {})


def rare_rows(cells: pd.DataFrame, column: str) -> NDArray[np.bool_]:
    """Return a mask of cells that stay points where others become density: unusual ones, small groups.

    Unusual is q < 0.05 or more anomalous than 97.5 % of control cells, a small group one of the names in
    ``column`` that fewer than a hundredth of the cells bear.
    """
    rare = np.zeros(len(cells), dtype=bool)
    if "anomaly_q" in cells:
        rare |= cells["anomaly_q"].to_numpy(np.float64) < _UNUSUAL_Q
    if "anomaly_percentile" in cells:
        rare |= cells["anomaly_percentile"].to_numpy(np.float64) >= _UNUSUAL_PERCENTILE
    if column in KINDS:
        counts = cells[column].map(cells[column].value_counts()).fillna(len(cells)).to_numpy(np.float64)
        rare |= counts < _SMALL_GROUP * len(cells)
    return rare


def of_one_shade(colours: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Return groups of rows of colours ``(n, 4)`` that look alike, each in the order of the rows."""
    steps = np.round(np.asarray(colours)[:, :3] * _SHADES).astype(np.int64)
    code = steps @ np.array([(_SHADES + 1) ** 2, _SHADES + 1, 1])
    _, group, n = np.unique(code, return_inverse=True, return_counts=True)
    middle = np.bincount(group, np.arange(len(group))) / n
    rows = np.split(np.argsort(group, kind="stable"), np.cumsum(n)[:-1])
    return [rows[number] for number in np.argsort(middle)]


def drawing_order(values: pd.Series) -> NDArray[np.int64]:
    """Return the rows in the order in which to draw them: the rare and the high lie on top."""
    if pd.api.types.is_numeric_dtype(values):
        rank = values.to_numpy(np.float64)
    else:
        counts = values.map(values.value_counts())
        rank = -counts.fillna(np.inf).to_numpy(np.float64)
    return np.argsort(np.nan_to_num(rank, nan=-np.inf), kind="stable")
