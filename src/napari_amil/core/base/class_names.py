"""Names of classes that people know, and a sentence about each."""

from __future__ import annotations

from typing import NamedTuple


class ClassName(NamedTuple):
    """Display names of classes, and a sentence about each."""

    name: str
    sentence: str


_COMPOSED = "A composed class: its samples were put together from labelled {}, nobody was diagnosed."
KNOWN: dict[str, ClassName] = {
    "control": ClassName("control", "Samples without the diseases in question."),
    "scd_like": ClassName(
        "sickle-cell-like", _COMPOSED.format("long, teardrop and broken cells, as in sickle cell disease")
    ),
    "hs_like": ClassName(
        "spherocytosis-like", _COMPOSED.format("spherocytes, as in hereditary spherocytosis")
    ),
    "thal_like": ClassName(
        "thalassaemia-like", _COMPOSED.format("target, pale and small cells, as in thalassaemia")
    ),
    "xero_like": ClassName(
        "xerocytosis-like", _COMPOSED.format("burr cells and stomatocytes, as in hereditary xerocytosis")
    ),
}
"""Classes of the models that come with the program; those of other models are called as in their data."""


def display_name(label: str) -> str:
    """Return the name of a class in the window.

    >>> display_name("thal_like"), display_name("iron_deficiency")
    ('thalassaemia-like', 'iron deficiency')
    """
    known = KNOWN.get(label)
    return known.name if known is not None else label.replace("_", " ")


def class_sentence(label: str) -> str:
    """Return one sentence about a class; empty where nothing is known of it."""
    known = KNOWN.get(label)
    return known.sentence if known is not None else ""


def is_composed(label: str) -> bool:
    """Return whether the samples of a class were put together from labelled cells."""
    known = KNOWN.get(label)
    return known is not None and known.sentence.startswith(_COMPOSED.partition(":")[0])
