"""What speaks for and against a class: bias and contributions of the cells, which add up to the logit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import CONTRIBUTION, column_name

MOST_CELLS = 5


@dataclass(frozen=True)
class Case:
    """The case for one class: ``bias + sum of top + others = logit``.

    Parameters
    ----------
    name
        The class.
    bias
        What no cell contributes.
    top
        Rows of the layer with the largest contributions, for or against, and these; the largest first.
    others, n_others
        Sum of the contributions of all other cells, and how many these are.
    speaks_for, speaks_against
        Sum of all positive and of all negative contributions.
    logit
        What the model says.
    """

    name: str
    bias: float
    top: tuple[tuple[int, float], ...]
    others: float
    n_others: int
    speaks_for: float
    speaks_against: float
    logit: float


def case_for(name: str, bag: Mapping[str, Any], table: pd.DataFrame, most: int = MOST_CELLS) -> Case:
    """Return the case for the class ``name`` from the features of a scored layer."""
    column = table[column_name(CONTRIBUTION, name)].to_numpy(float)
    rows = np.flatnonzero(np.isfinite(column))
    ranked = rows[np.argsort(-np.abs(column[rows]), kind="stable")]
    first, rest = ranked[:most], ranked[most:]
    known = column[rows]
    return Case(
        name,
        float(bag["bias"][name]),
        tuple((int(row), float(column[row])) for row in first),
        float(column[rest].sum()),
        len(rest),
        float(known[known > 0].sum()),
        float(known[known < 0].sum()),
        float(bag["logit"][name]),
    )


def cases_of(bag: Mapping[str, Any], table: pd.DataFrame) -> list[Case]:
    """Return the case for every class, the likeliest first; none where the model told no contributions."""
    names = sorted(bag.get("logit", {}), key=lambda name: -bag["logit"][name])
    return [case_for(name, bag, table) for name in names if column_name(CONTRIBUTION, name) in table]
