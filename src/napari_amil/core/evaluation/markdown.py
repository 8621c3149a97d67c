"""Tables for people to read: figures as text, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd


def figure_of(line: pd.Series, name: str) -> str:
    """Return ``mean ± deviation [low, high]`` of a figure, as far as the line has them."""
    if pd.isna(line.get(name)):
        return ""
    text = f"{line[name]:.3f}"
    if not pd.isna(line.get(f"{name}_sd")):
        text += f" ± {line[f'{name}_sd']:.3f}"
    if not pd.isna(line.get(f"{name}_low")):
        text += f" [{line[f'{name}_low']:.3f}, {line[f'{name}_high']:.3f}]"
    return text


def markdown_table(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table of texts."""
    rows = zip(*columns.values(), strict=True)
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return head + ["| " + " | ".join(map(str, row)) + " |" for row in rows]
