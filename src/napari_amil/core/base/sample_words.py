"""Sentences about the cells of a sample together and its class set, for the window and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from napari_amil.core.base.class_names import display_name
from napari_amil.core.base.types import ANOMALOUS_Q, CLASS_SEPARATOR

_SHARE = "abnormal_share"
_ANY_SHARE = 0.9
"""An interval this wide tells nothing about the share."""
SURE_DIAMETER = 0.75
"""Confidence in the diameter of cells below which a sentence says how to give it."""


def share_sentences(bag: Mapping[str, Any]) -> list[str]:
    """Return sentences on the share of abnormal cells of a sample, from its row of the table of bags.

    Where the share is not known because the model is old or had one control patient, a sentence says so;
    tables of older versions, which have no such column, get none.
    """
    if _SHARE not in bag:
        return []
    share, low, high = (_number(bag, _SHARE + end) for end in ("", "_low", "_high"))
    p, beyond = _number(bag, "sample_p"), _number(bag, "share_q05")
    if not math.isfinite(share):
        return ["The share of abnormal cells is not known: the model knows one control patient at most."]
    ends = f"90 % interval {_percent(low)} to {_percent(high)}"
    lines = [f"About {_percent(share)} of its cells are abnormal ({ends})."]
    if high - low >= _ANY_SHARE:
        lines = [f"The share of abnormal cells cannot be estimated ({ends})."]
    if math.isfinite(p):
        chance = "less than 0.1 %" if p < 0.001 else f"{100 * p:.2g} %"
        lines.append(f"Of control samples, {chance} score this high on average (sample p = {p:.2g}).")
    if beyond < low / 2:
        lines.append(
            f"Only {_percent(beyond)} of the cells stand out one by one (q < {ANOMALOUS_Q:g}); both can be "
            "true. One cell must be rarer than the rarest control cells, but a shift of many cells shows in "
            "their share."
        )
    return lines


def diameter_sentence(bag: Mapping[str, Any]) -> str:
    """Return the remedy for an uncertain cell size of a sample, a sentence; empty where it is sure."""
    confidence = _number(bag, "diameter_confidence")
    if not confidence < SURE_DIAMETER:
        return ""
    return (
        f"How large its cells are is uncertain ({_number(bag, 'diameter_px'):.0f} px, confidence "
        f"{confidence:.2f}), and with it every number here: give 'cell_diameter_px' (--diameter) if that is "
        "wrong."
    )


def class_set_sentence(bag: Mapping[str, Any]) -> str:
    """Return the class set of a sample in a sentence; empty where it is not known."""
    found = bag.get("class_set")
    if not found or not isinstance(found, str | list | tuple):
        return ""
    listed = found.split(CLASS_SEPARATOR) if isinstance(found, str) else found
    names = [display_name(name) for name in listed]
    among = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f"For nine in ten new patients the class is among such a set: {among}."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _number(bag: Mapping[str, Any], name: str) -> float:
    """Return a number of the row; NaN where it is missing."""
    value = bag.get(name)
    return math.nan if value is None else float(value)
