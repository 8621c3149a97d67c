"""Normalise class labels: words for an unknown class, and spellings of one class."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from napari_amil.core.base.types import Bag
from napari_amil.core.cohort.problems import enumerate_names

UNKNOWN_WORDS = frozenset(
    {"", "na", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "none"}
    | {"?", "-", "--", "\N{EN DASH}", "\N{EM DASH}", ".", "unknown", "missing", "not available", "unlabelled"}
    | {"unlabeled", "undefined", "#value!", "#ref!"}
)
"""Fields, in small letters, that stand for an unknown value."""
_MINUS_ONE = re.compile(r"[-\N{MINUS SIGN}]1([.,]0*)?")


def label_key(text: str) -> str:
    """Return the key that all spellings of a class share, ``""`` for an unknown class.

    Case, spaces, characters without width and the form of Unicode do not count; the `UNKNOWN_WORDS`, such as
    ``NA`` and ``nan``, and ``-1`` stand for an unknown class.
    """
    seen = "".join(one for one in text if unicodedata.category(one) != "Cf")
    key = unicodedata.normalize("NFC", " ".join(seen.split())).casefold()
    return "" if key in UNKNOWN_WORDS or _MINUS_ONE.fullmatch(key) else key


def unify_labels(bags: Sequence[Bag], control: str) -> tuple[list[Bag], list[str]]:
    """Return the bags with one spelling for each class, and a note on each class that had several.

    The control class is spelled as ``control``, every other as most of its bags.
    """
    spellings: dict[str, Counter[str]] = {}
    for bag in bags:
        if bag.label is not None and label_key(bag.label):
            spellings.setdefault(label_key(bag.label), Counter())[bag.label] += 1
    chosen = {key: counts.most_common(1)[0][0] for key, counts in spellings.items()}
    if label_key(control) in chosen:
        chosen[label_key(control)] = control
    notes = []
    for key, counts in spellings.items():
        others = sorted(set(counts) - {chosen[key]})
        if others:
            notes.append(f"{enumerate_names(others)} read as the class '{chosen[key]}'")
    return [replace(bag, label=chosen.get(label_key(bag.label or ""))) for bag in bags], notes
