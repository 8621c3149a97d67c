"""Counts of cell types in samples, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

NO_TYPE = "no type"
"""Row of the cells that are like no named type."""


def type_counts(bags: Sequence[str], names: NDArray[np.str_], types: Sequence[str]) -> pd.DataFrame:
    """Return one row per sample and type: ``n_cells``, ``share`` and its 95 % interval ``low, high``.

    The interval is Wilson's, for the cells as a random draw; it does not know that the classifier errs.

    Parameters
    ----------
    bags, names
        ``(n_cells,)`` sample and predicted type; ``""`` is no type.
    types
        Types in their order; `NO_TYPE` comes last.
    """
    table = pd.DataFrame({"bag": list(bags), "cell_type": np.where(names == "", NO_TYPE, names)})
    rows = []
    for bag, own in table.groupby("bag", sort=False):
        counted = own["cell_type"].value_counts()
        for name in (*types, NO_TYPE):
            n = int(counted.get(name, 0))
            interval = binomtest(n, len(own)).proportion_ci(method="wilson")
            rows.append((bag, name, n, n / len(own), interval.low, interval.high))
    return pd.DataFrame(rows, columns=["bag", "cell_type", "n_cells", "share", "low", "high"])
