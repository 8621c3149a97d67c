"""Sentences about one cell: its scores, their errors, and the reason why it has none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from napari_amil.core.base.class_names import display_name
from napari_amil.core.base.column import Column
from napari_amil.core.base.column_list import STATUSES
from napari_amil.core.base.columns import CONTRIBUTION, column_of, menu_names, parts
from napari_amil.core.base.types import ANOMALOUS_Q

_WORTH_A_LOOK = 0.25
"""Below this q-value a cell deserves a look, though it is not sure enough to stand out."""


def unusual(percentile: float) -> str:
    """Return the percentile as a sentence about one cell.

    >>> unusual(99.24)
    'More unusual than 99.2 % of control cells'
    """
    if percentile >= 100:
        return "More unusual than every control cell"
    shown = f"{min(percentile, 99.99):.2f}" if percentile > 99.9 else f"{percentile:.1f}"
    return f"More unusual than {shown} % of control cells"


def certainty(row: Mapping[str, Any]) -> str:
    """Return the meaning of the q-value of a cell in a sentence; empty without one.

    >>> certainty({"anomaly_q": 0.012})
    'Stands out: of cells this unusual at most 1.2 % are false alarms.'
    >>> certainty({"anomaly_q": 0.069})
    'Not sure: of cells this unusual up to 6.9 % are false alarms; 5 % is the limit.'
    """
    q = float(row.get("anomaly_q", np.nan))
    if not np.isfinite(q):
        return ""
    if q < ANOMALOUS_Q:
        return f"Stands out: of cells this unusual at most {per_cent(q)} are false alarms."
    if q < _WORTH_A_LOOK:
        limit = per_cent(ANOMALOUS_Q)
        return f"Not sure: of cells this unusual up to {per_cent(q)} are false alarms; {limit} is the limit."
    return f"Chance explains it: among so many cells some are as unusual (q = {q:.2f})."


def per_cent(share: float) -> str:
    """Return a share as a text, to two digits: ``12 %``, ``1.2 %``, ``0.12 %``."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def numbers(row: Mapping[str, Any]) -> list[str]:
    """Return the scores of a cell with their errors, one short line each."""
    return [column.line(value, error) for column, value, error in _known(row, ("hover", "card"))]


def _known(row: Mapping[str, Any], shown: Collection[str]) -> list[tuple[Column, float, float]]:
    """Return the columns of a cell that are shown in one of these places, with value and error."""
    columns = [column_of(name) for name in menu_names(row)]
    found = [(c, float(row[c.name]), float(row.get(f"{c.name}_se", np.nan))) for c in columns]
    return [entry for entry in found if entry[0].shown in shown and np.isfinite(entry[1])]


def contributions(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the contribution of a cell to each class; classes without a number are left out."""
    values = {name: float(row[column]) for name, column in parts(row, CONTRIBUTION).items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def largest_contribution(table: pd.DataFrame) -> float:
    """Return the largest contribution of any cell to any class, for or against; 0 without one."""
    values = table[list(parts(table, CONTRIBUTION).values())].to_numpy(float)
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def describe(row: Mapping[str, Any]) -> list[str]:
    """Return the description of a cell, a sentence a line; the first fits the status bar."""
    cell = f"Cell {int(row['cell_id'])}"
    if not np.isfinite(row.get("anomaly", np.nan)):
        return [f"{cell}: {_why_without_score(row)}", *_found(row)]
    lines = []
    if np.isfinite(row.get("anomaly_percentile", np.nan)):
        lines.append(unusual(float(row["anomaly_percentile"])))
    others = [entry for entry in _known(row, ("hover",)) if entry[0].name != "anomaly_percentile"]
    lines += [column.line(value, error) for column, value, error in others]
    lines += _strongest_voice(row)
    return [f"{cell}: {lines[0][0].lower()}{lines[0][1:]}", *lines[1:], *_found(row)]


def _why_without_score(row: Mapping[str, Any]) -> str:
    status = str(row.get("status"))
    if status not in ("edited", "excluded") and "anomaly" in row and row.get("touches_border"):
        return "not scored, since the border of the image cuts it"
    return STATUSES.get(status, STATUSES["unscored"])


def _strongest_voice(row: Mapping[str, Any]) -> list[str]:
    voices = contributions(row)
    if not voices:
        return []
    name = max(voices, key=lambda key: voices[key])
    return [f"Moved the score of {display_name(name)} by {voices[name]:+z.2f}"]


def _found(row: Mapping[str, Any]) -> list[str]:
    score = row.get("detection_score", np.nan)
    found = f"{per_cent(score)} certain to be a cell" if np.isfinite(score) else "Drawn by hand"
    flags = [
        text
        for name, text in (("touches_border", "cut by the border"), ("overlaps", "overlaps a neighbour"))
        if row.get(name)
    ]
    return [", ".join([found, *flags])]
