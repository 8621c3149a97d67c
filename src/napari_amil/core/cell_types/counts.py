"""Counts of cell types in samples, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

NO_TYPE = "no type"
"""Row of the cells that are like no named type."""
_Z = float(norm.ppf(0.975))


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
            rows.append((bag, name, n, n / len(own), *_wilson(n, len(own))))
    return pd.DataFrame(rows, columns=["bag", "cell_type", "n_cells", "share", "low", "high"])


def _wilson(n: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927)."""
    share = n / total
    center = share + _Z**2 / (2 * total)
    half = _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    scale = 1 + _Z**2 / total
    return max(0.0, (center - half) / scale), min(1.0, (center + half) / scale)
