"""Sentences about the clinical values of a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from napari_amil.core.base.columns import CLINICAL, parts

_LEAST = 0.05
"""Contribution to the log-odds below which a value counts as silent."""
_MOST = 4


def clinical_words(bag: Mapping[str, Any]) -> list[str]:
    """Return the weight of the images of a sample, and the effect of its clinical values, as sentences.

    Parameters
    ----------
    bag
        A row of the table of bags; one without clinical columns gives no sentence.

    >>> clinical_words({"image_weight": 0.25, "clinical_AGE": -0.5, "clinical_COUNT": 2.0})
    ['The pictures count for 25 % here, the clinical values for 75 %.', 'COUNT speaks for disease (+2.00); \
AGE speaks against disease (-0.50).']
    """
    effect = {name: float(bag[column]) for name, column in parts(bag, CLINICAL).items()}
    if not effect:
        return []
    sentences = []
    weight = float(bag.get("image_weight", math.nan))
    if math.isfinite(weight):
        share = f"{100 * weight:.0f} % here, the clinical values for {100 * (1 - weight):.0f} %"
        sentences.append(f"The pictures count for {share}.")
    strong = [name for name in effect if abs(effect[name]) >= _LEAST]
    words = [
        f"{name} speaks {'for disease' if effect[name] > 0 else 'against disease'} ({effect[name]:+.2f})"
        for name in sorted(strong, key=lambda name: -abs(effect[name]))[:_MOST]
    ]
    return [*sentences, f"{'; '.join(words)}." if words else "The clinical values speak for neither side."]
