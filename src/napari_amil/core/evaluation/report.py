"""Scored samples as pages for people: plain words, tables and pictures in one file each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from napari_amil.core.types import ABSTAIN, UNSEEN

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_LONGEST_LIST = 12


@dataclass(frozen=True)
class Picture:
    """A picture of a page: its ``data:`` address and what is to be seen."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Origin:
    """Where the scores of a page come from.

    Parameters
    ----------
    model
        Name or file of the bundle, and its SHA-256.
    card
        What the bundle says about itself.
    settings
        As YAML.
    versions
        Of programs.
    """

    model: str
    card: Mapping[str, Any]
    settings: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """What a page shows, in this order."""

    title: str
    sentences: Sequence[str]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    """``text of the first column -> address`` in every table."""


def render_page(page: Page, origin: Origin) -> str:
    """Return a page as one HTML file that needs no other."""
    template = _TEMPLATES.get_template("page.html.j2")
    tables = {name: _shown(table) for name, table in page.tables.items()}
    card = list(_lines(origin.card))
    return template.render(page=page, tables=tables, origin=origin, card=card)


def bag_sentences(bag: Mapping[str, Any], classes: Sequence[str], control: str) -> list[str]:
    """Return what is said of one bag, in plain words.

    Parameters
    ----------
    bag
        Its row of the table of bags.
    """
    sentences = [_verdict_sentence(str(bag["verdict"]), control)]
    probability = {
        name: float(bag[f"probability_{name}"]) for name in classes if f"probability_{name}" in bag
    }
    if probability:
        first, *others = sorted(probability, key=lambda name: -probability[name])
        second = f", then {others[0]} ({_percent(probability[others[0]])})" if others else ""
        sentences.append(
            f"Among the classes it knows, the model holds {first} most probable "
            f"({_percent(probability[first])}){second}."
        )
    fraction = float(bag["anomalous_fraction"])
    n_cells = int(bag["n_cells"])
    if math.isfinite(fraction):
        sentences.append(
            f"{round(fraction * n_cells)} of its {n_cells} cells ({_percent(fraction)}) are more unusual "
            "than chance explains among control cells (q < 0.05)."
        )
    novelty = float(bag.get("novelty_p", math.nan))
    if math.isfinite(novelty):
        sentences.append(
            f"Of samples of known classes, {_percent(novelty)} lie as far from all of them as this one "
            "or farther."
        )
    return sentences


def _verdict_sentence(verdict: str, control: str) -> str:
    if verdict == UNSEEN:
        return "This sample is unlike anything that the model has seen: no known class explains it."
    if verdict == ABSTAIN:
        return "The model abstains: too little is known of this sample for a verdict."
    if verdict == control:
        return f"This sample looks like {control}: no class that the model knows stands out."
    return f"This sample looks most like {verdict}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 or 0.99 < share < 1 else f"{100 * share:.0f} %"


def _shown(table: pd.DataFrame) -> list[list[str]]:
    """Return head and rows of a table as texts."""
    head = [str(name).replace("_", " ") for name in table.columns]
    return [head, *([_text(value) for value in row] for row in table.itertuples(index=False))]


def _text(value: Any) -> str:  # noqa: ANN401
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _lines(card: Mapping[str, Any], depth: int = 0) -> list[tuple[int, str, str]]:
    """Return a card as lines: depth, name, value."""
    lines: list[tuple[int, str, str]] = []
    for name, value in card.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            lines += [(depth, label, ""), *_lines(value, depth + 1)]
        elif isinstance(value, list):
            shown = ", ".join(map(_text, value[:_LONGEST_LIST]))
            lines.append((depth, label, shown + (" …" if len(value) > _LONGEST_LIST else "")))
        else:
            lines.append((depth, label, _text(value)))
    return lines
