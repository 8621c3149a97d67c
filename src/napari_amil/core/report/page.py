"""Render a page of a report: sentences, tables and pictures in one HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from napari_amil.core.base.column import Column, Table
from napari_amil.core.base.columns import PROBABILITY, column_of, parts, shown
from napari_amil.core.base.sample_words import class_set_sentence, diameter_sentence, share_sentences
from napari_amil.core.base.types import ABSTAIN, UNSEEN

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
    """A picture of a page: its ``data:`` address and its description."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Origin:
    """Model, settings and inputs behind the scores of a page.

    Parameters
    ----------
    model
        Name or file of the bundle, and its SHA-256.
    card
        Card of the bundle.
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
class Section:
    """A part of a page: pictures, then shares as bars, then a table with its columns explained."""

    title: str
    pictures: Sequence[Picture] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    rows: Table = "bags"
    """Kind of the rows of the table, for the titles of its columns."""
    side_by_side: bool = False
    """Two pictures in a row."""


@dataclass(frozen=True)
class Page:
    """Content of a page, in the order shown."""

    title: str
    sentences: Sequence[str]
    sections: Sequence[Section] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    """``text of the first column -> address`` in every table."""
    home: str = ""
    """Address of the page of the cohort, for the page of a sample."""


def render_page(page: Page, origin: Origin) -> str:
    """Return a page as one HTML file that needs no other."""
    template = _TEMPLATES.get_template("page.html.j2")
    return template.render(
        page=page,
        origin=origin,
        card=list(_lines(origin.card)),
        columns_of=columns_of,
        rows_of=rows_of,
        percent=percent,
        bar_width=bar_width,
    )


def bar_width(share: float) -> str:
    """Return the width of the bar of a share, as CSS reads it."""
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"


def columns_of(section: Section) -> list[tuple[Column, bool]]:
    """Return each column of the table of a section, and whether it holds numbers."""
    table = section.table if section.table is not None else pd.DataFrame()
    words = [column_of(str(name), section.rows) for name in table]
    return list(zip(words, map(pd.api.types.is_numeric_dtype, table.dtypes), strict=True))


def rows_of(section: Section) -> list[list[str]]:
    """Return the rows of the table of a section as texts."""
    table = section.table if section.table is not None else pd.DataFrame()
    return [[shown(value) for value in row] for row in table.itertuples(index=False)]


def percent(share: float) -> str:
    """Return a share as a text that never claims all or nothing where that is not so.

    >>> percent(0.25), percent(0.031), percent(0.99996), percent(1e-7)
    ('25 %', '3.1 %', '> 99.9 %', '< 0.1 %')
    """
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.1 or 0.99 < share < 1 else f"{100 * share:.0f} %"


def bag_sentences(bag: Mapping[str, Any], classes: Sequence[str], control: str) -> list[str]:
    """Return the verdict on one bag and its grounds in sentences.

    Parameters
    ----------
    bag
        Its row of the table of bags.
    """
    caveat = bag.get("caveat")
    foreign = f"The model abstains. {caveat}" if isinstance(caveat, str) and caveat else ""
    sentences = [foreign or _verdict_sentence(str(bag["verdict"]), control)]
    columns = parts(bag, PROBABILITY)
    probability = {name: float(bag[columns[name]]) for name in classes if name in columns}
    if probability:
        first, *others = sorted(probability, key=lambda name: -probability[name])
        second = f", then {others[0]} ({percent(probability[others[0]])})" if others else ""
        sentences.append(
            f"Among the classes it knows, the model holds {first} most probable "
            f"({percent(probability[first])}){second}."
        )
    sentences += [
        line for line in (class_set_sentence(bag), *share_sentences(bag), diameter_sentence(bag)) if line
    ]
    fraction = float(bag.get("share_q05", math.nan))
    n_cells = int(bag["n_cells"])
    if math.isfinite(fraction):
        sentences.append(
            f"{round(fraction * n_cells)} of its {n_cells} cells ({percent(fraction)}) are more unusual "
            "than chance explains among control cells (q < 0.05)."
        )
    novelty = float(bag.get("novelty_p", math.nan))
    if math.isfinite(novelty):
        sentences.append(
            f"Of samples of known classes, {percent(novelty)} lie as far from all classes as this one "
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


def _lines(card: Mapping[str, Any], depth: int = 0) -> list[tuple[int, str, str]]:
    """Return a card as lines: depth, name, value."""
    lines: list[tuple[int, str, str]] = []
    for name, value in card.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            lines += [(depth, label, ""), *_lines(value, depth + 1)]
        elif isinstance(value, list):
            listed = ", ".join(map(shown, value[:_LONGEST_LIST]))
            lines.append((depth, label, listed + (" …" if len(value) > _LONGEST_LIST else "")))
        else:
            lines.append((depth, label, shown(value)))
    return lines
