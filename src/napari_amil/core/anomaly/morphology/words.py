"""Names of unusual measurements of a cell in a haematologist's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.base.columns import MORPH, column_name
from napari_amil.core.base.measure_words import WORDS, unusual_measurements


def morphology_in_words(
    row: Mapping[str, Any], control: ControlMorphology, least: float = 1.96, most: int = 5
) -> list[str]:
    """Return the unusual measurements of a cell, largest first, as ``longer than 99 % of control cells``.

    Parameters
    ----------
    row
        A row of a table of cells with the columns ``morph_<name>`` and ``morph_<name>_z``.
    control
        Statistics of control cells.
    least
        Control deviations from which on a measurement is unusual.
    most
        Longest list.
    """
    words: dict[str, str] = {}
    for name, deviation in unusual_measurements(row, least):
        high = deviation > 0
        share = control.share_exceeded(name, float(row[column_name(MORPH, name)]), high=high)
        word = WORDS[name][high]
        words.setdefault(word, f"{word} than {_percent(share)} of control cells")
    return list(words.values())[:most]


def _percent(share: float) -> str:
    """Return a share as a text: whole per cents, and tenths where these tell more."""
    return f"{100 * share:.1f} %" if share > 0.99 else f"{100 * share:.0f} %"
