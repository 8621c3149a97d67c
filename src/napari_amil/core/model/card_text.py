"""The card of a model as a page of text that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TITLES = {
    "intended_use": "Intended use",
    "name": "Name",
    "data": "Trained on",
    "held_out": "Tested on",
    "detector": "Detector",
    "scorer": "Scorer",
    "calibration": "Calibration to other controls",
    "results": "Results on what was held out",
    "failed": "Inputs that could not be used",
}
"""Entries in their order; others follow under their own names."""
_WORDS = {
    "n_bags": "samples",
    "n_patients": "patients",
    "n_cells": "cells",
    "n_images": "images",
    "n_control_cells": "control cells",
    "seconds": "seconds of training",
    "held_out_over_in_sample": "distance of held-out over seen controls",
    "density": "optical density of the fields (mean, deviation)",
    "diameter_px": "cell diameter in pixels (mean, deviation)",
    "focus": "sharpness (mean, deviation)",
    "auroc": "area under the ROC",
}
_HIDDEN = frozenset({"made_from", "cohort_hash", "controls_hash", "taught"})
_MOST_ITEMS = 12


def card_text(card: Mapping[str, Any]) -> str:
    """Return a card as lines of text, the most important entries first.

    Hashes that only the program compares are left out; the JSON has them.
    """
    ordered = [name for name in _TITLES if name in card]
    ordered += [name for name in card if name not in _TITLES and name not in _HIDDEN]
    lines: list[str] = []
    for name in ordered:
        title = _TITLES.get(name) or _words(name).capitalize()
        lines += _entry(title, card[name], "")
    return "\n".join(lines)


def _entry(title: str, value: Any, indent: str) -> list[str]:  # noqa: ANN401
    """Return the lines of one entry; inner entries are indented."""
    if isinstance(value, Mapping):
        if value and all(isinstance(inner, int | float) for inner in value.values()) and len(value) <= 6:
            entries = ", ".join(f"{_words(str(name))} {_number(inner)}" for name, inner in value.items())
            return [f"{indent}{title}: {entries}"]
        inside = [
            line
            for name, inner in value.items()
            if name not in _HIDDEN
            for line in _entry(_words(str(name)), inner, indent + "  ")
        ]
        return [f"{indent}{title}", *inside]
    if isinstance(value, list | tuple):
        shown = ", ".join(_number(inner) for inner in value[:_MOST_ITEMS])
        rest = f" and {len(value) - _MOST_ITEMS} more" if len(value) > _MOST_ITEMS else ""
        return [f"{indent}{title}: {shown}{rest}"]
    return [f"{indent}{title}: {_number(value)}"]


def _words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def _number(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
