"""Scores in plain words: the names in the colour menu, and what is said about one cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_amil.core.base.types import ANOMALOUS_Q

_TITLES = {
    "anomaly_percentile": "Unusualness in %",
    "anomaly": "Distance from control",
    "anomaly_se": "Distance from control, error",
    "anomaly_percentile_se": "Unusualness in %, error",
    "anomaly_p": "Unusualness, p-value",
    "anomaly_q": "Unusualness, q-value",
    "latent_distance": "Distance of the embedding",
    "attention": "Attention (share)",
    "attention_x_n": "Attention (1 = average)",
    "pool_weight": "Weight in the verdict",
    "detection_score": "Certainty of detection",
    "area_px": "Area (square pixels)",
}

_MEANINGS = {
    "anomaly_percentile": "Share of control cells that are less unusual than this cell. 99 means: only one "
    "in a hundred control cells is as unusual.",
    "anomaly": "How far the cell lies from the control cells, in what the network sees of it and in what is "
    "measured of it. Has no unit; compare, do not interpret.",
    "latent_distance": "How far the cell lies from the control cells in what the network sees of it alone "
    "(Mahalanobis distance of its embedding). Has no unit.",
    "morph_distance": "How far the cell lies from the control cells by its measurements alone. Has no unit.",
    "anomaly_se": "How far the distance would typically move with other control patients (standard error).",
    "anomaly_percentile_se": "How far the share would typically move with other controls (standard error).",
    "anomaly_p": "How often a control cell of a new patient is at least as unusual as this one.",
    "anomaly_q": "Of all cells with a q this small, at most this share is a false alarm.",
    "attention": "How much the network looks at this cell; all cells of the sample add up to 1.",
    "attention_x_n": "How much the network looks at this cell; 1 is an average cell of this sample.",
    "pool_weight": "How much this cell counts in the verdict.",
    "detection_score": "How sure the detector is that this is a cell (0 to 1).",
    "area_px": "Area inside the outline.",
}

_LEAST_ERROR = 0.005  # no number has more than two decimals
_WORTH_A_LOOK = 0.25
"""Below this q-value a cell deserves a look, though it is not sure enough to stand out."""

_NUMBERS = (
    ("anomaly_percentile", "Percentile among control cells {:.2f}{}"),
    ("anomaly", "Distance from control cells {:.3g}{}"),
    ("anomaly_q", "q-value within the image {:.2g}{}"),
    ("attention_x_n", "Attention {:.2g}{} times an average cell's"),
    ("pool_weight", "Weight in the verdict {:.2g}{}"),
    ("detection_score", "{:.0%}{} certain to be a cell"),
)
"""Columns and what is said of their values and errors, of one cell."""


def title(column: str) -> str:
    """Return the name of a score as the menu shows it."""
    if column.startswith("contribution_"):
        return f"Speaks for {column.removeprefix('contribution_')}"
    if column == "morph_distance":
        return "Shape: distance from control"
    if column.startswith("morph_"):
        name = column.removeprefix("morph_").removesuffix("_z").replace("_", " ")
        return f"Shape: {name}" + (" (control deviations)" if column.endswith("_z") else "")
    return _TITLES.get(column, column.replace("_", " "))


def meaning(column: str) -> str:
    """Return one sentence on what a score means."""
    if column.startswith("contribution_"):
        name = column.removeprefix("contribution_")
        return f"What this cell adds to the case for {name}; below zero it speaks against it."
    return _MEANINGS.get(column, title(column) + ".")


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
    """Return what the q-value of a cell says, as one sentence; empty without one.

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
    lines = []
    for column, sentence in _NUMBERS:
        value, error = (float(row.get(key, np.nan)) for key in (column, f"{column}_se"))
        if np.isfinite(value):
            lines.append(sentence.format(value, _spread(error)).replace("%", " %"))
    return lines


def _spread(error: float) -> str:
    """Return an error to two digits, nothing where it would be rounded away beside its value."""
    return f" ± {error:.2g}" if error >= _LEAST_ERROR else ""


def contributions(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what a cell adds to each class; classes without a number are left out."""
    named = {str(name): value for name, value in row.items()}
    stem = "contribution_"
    return {k.removeprefix(stem): float(v) for k, v in named.items() if k.startswith(stem) and np.isfinite(v)}


def describe(row: Mapping[str, Any]) -> list[str]:
    """Return what is known about one cell, one plain sentence a line; the first fits the status bar."""
    cell = f"Cell {int(row['cell_id'])}"
    if not np.isfinite(row.get("anomaly", np.nan)):
        return [f"{cell}: {_why_without_score(row)}", *_found(row)]
    lines = []
    if np.isfinite(row.get("anomaly_percentile", np.nan)):
        lines.append(unusual(float(row["anomaly_percentile"])))
    spread = _spread(row.get("anomaly_se", np.nan))
    lines.append(f"Distance from control cells {row['anomaly']:.3g}{spread}")
    if np.isfinite(row.get("attention_x_n", np.nan)):
        lines.append(f"Attention {row['attention_x_n']:.1f} times an average cell's")
    lines += _strongest_voice(row)
    return [f"{cell}: {lines[0][0].lower()}{lines[0][1:]}", *lines[1:], *_found(row)]


def _why_without_score(row: Mapping[str, Any]) -> str:
    said = {"edited": "changed by hand, score again", "excluded": "left out"}.get(str(row.get("status")))
    if said is None and "anomaly" in row and row.get("touches_border"):
        return "not scored, since the border of the image cuts it"
    return said or "not scored yet"


def _strongest_voice(row: Mapping[str, Any]) -> list[str]:
    voices = contributions(row)
    if not voices:
        return []
    name = max(voices, key=lambda key: voices[key])
    return [f"Moved {name} by {voices[name]:+.2f}"]


def _found(row: Mapping[str, Any]) -> list[str]:
    score = row.get("detection_score", np.nan)
    found = f"{per_cent(score)} certain to be a cell" if np.isfinite(score) else "Drawn by hand"
    flags = [
        text
        for name, text in (("touches_border", "cut by the border"), ("overlaps", "overlaps a neighbour"))
        if row.get(name)
    ]
    return [", ".join([found, *flags])]
