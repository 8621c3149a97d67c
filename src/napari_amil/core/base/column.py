"""One column of a table of cells, bags or groups: its words, unit, range and use."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from napari_amil.core.base.class_names import display_name

LEAST_ERROR = 0.005
"""A standard error below this is not shown: no number has more than two decimals."""

Table = Literal["cells", "bags", "groups", "clusters", "comparison", "report", "failures"]
Kind = Literal["number", "text", "flag"]
Use = Literal["evaluate", "draw", "delete"]
Shown = Literal["hover", "card", "menu", "table"]


@dataclass(frozen=True)
class Column:
    """One column, or a family of columns with a part of the name in angle brackets.

    Parameters
    ----------
    name
        ``anomaly``, or a pattern such as ``contribution_<class>``; the part in brackets may stand in title,
        head and meaning too.
    title
        Name in menus and figures.
    meaning
        One plain sentence.
    table
        Table that it belongs to.
    head
        Short title above a narrow table; the title where empty.
    kind
        Kind of its values.
    unit
        Unit behind a value; empty for none.
    low, high
        Range of the values; None where it is open.
    decimals
        Digits behind the point; None for three significant digits.
    unusual
        Values that are unusual: ``high``, ``low``, ``both`` ends, or empty where none is.
    is_score
        Whether it is a score of a cell (or bag): blank until scored, and blanked when the outline changes.
    needs_sample
        Whether a cell has it only together with all cells of its sample.
    shown
        Places that show a column of cells: ``hover`` (and card and menus), ``card`` (and menus), ``menu``
        (colours, orders, figures), or ``table`` alone.
    diverging
        Whether it has a sign, and so takes a diverging colour map around zero.
    ends
        Fixed ends of its colour scale; None to take them from the first scored image.
    is_probability
        Whether a value is a percentile or a probability, so that the colour bar marks no percentiles of it.
    has_tail
        Whether its colour scale has equal steps of rarity: 90, 99 and 99.9 % lie equally far apart.
    logarithmic
        Whether histograms have a logarithmic axis.
    phrase
        Format of a line about one cell, with the value and its error; from title and value where empty.
    uses
        Further uses: ``evaluate`` (compared with the true cell types), ``draw`` (distributions in
        reports), ``delete`` (the deletion test removes cells in its order).
    computed
        For the documentation: how it is computed.
    """

    name: str
    title: str
    meaning: str
    table: Table = "cells"
    head: str = ""
    kind: Kind = "number"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    unusual: Literal["high", "low", "both", ""] = ""
    is_score: bool = False
    needs_sample: bool = False
    shown: Shown = "hover"
    diverging: bool = False
    ends: tuple[float, float] | None = None
    is_probability: bool = False
    has_tail: bool = False
    logarithmic: bool = False
    phrase: str = ""
    uses: tuple[Use, ...] = ()
    computed: str = ""

    @property
    def stem(self) -> str:
        """Name up to the part in brackets; the whole name where there is none."""
        return self.name.partition("<")[0]

    @property
    def heading(self) -> str:
        """Words above a narrow table."""
        return self.head or self.title

    @property
    def in_menus(self) -> bool:
        """True if cells can be coloured and sorted by it."""
        return self.table == "cells" and self.kind == "number" and self.shown != "table"

    def part(self, name: str) -> str | None:
        """Return the part of ``name`` in place of the brackets; None if the name does not fit.

        >>> Column("contribution_<class>", "Speaks for <class>", "").part("contribution_ill")
        'ill'
        """
        stem, bracket, rest = self.name.partition("<")
        tail = rest.partition(">")[2]
        fits = bracket and name.startswith(stem) and name.endswith(tail) and len(name) > len(stem + tail)
        return name[len(stem) : len(name) - len(tail)] if fits else None

    def filled(self, part: str) -> Column:
        """Return the column of one class, measurement or model."""
        mark = f"<{self.name.partition('<')[2].partition('>')[0]}>"
        words = display_name(part) if mark == "<class>" else part.replace("_", " ")
        texts = {key: getattr(self, key).replace(mark, words) for key in ("title", "head", "meaning")}
        return replace(self, name=self.name.replace(mark, part), **texts)

    def text(self, value: float, further: int = 0) -> str:
        """Return a value with its unit, and with so many further digits.

        >>> Column("percentile", "Percentile", "", unit="%", decimals=1).text(99.24)
        '99.2 %'
        """
        if not math.isfinite(value):
            return "no value"
        sign = "+" if self.diverging else ""
        digits = f".{3 + further}g" if self.decimals is None else f",.{self.decimals + further}f"
        number = f"{value:{sign}{digits}}"
        return f"{number} {self.unit}".rstrip()

    def line(self, value: float, error: float = math.nan) -> str:
        """Return a line about one cell, with the standard error where it shows beside the value.

        >>> Column("anomaly", "Distance", "").line(12.345, 0.7)
        'Distance 12.3 ± 0.7'
        """
        spread = f" ± {error:.2g}" if error >= LEAST_ERROR else ""
        if not self.phrase:
            return f"{self.title} {self.text(value)}{spread}"
        return self.phrase.format(value, spread).replace("%", " %")
