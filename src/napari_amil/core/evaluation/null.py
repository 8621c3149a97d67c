"""Whether p-values hold what they promise: measured on control cells that nobody trained on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_N_DRAWS = 200


def null_metrics(p: NDArray[Any], q: NDArray[Any], units: NDArray[Any]) -> dict[str, float]:
    """Return how far the p-values of control cells are from uniform, and how many q-values are small.

    Parameters
    ----------
    p, q
        ``(n_cells,)`` of control cells; NaN is left out.
    units
        ``(n_cells,)`` patient, or image, whose cells depend on each other.

    Returns
    -------
    dict
        ``null_n_units``; ``null_ks_p``, the Kolmogorov-Smirnov p-value of one cell of each unit
        against the uniform distribution, the median of 200 draws of such cells; ``null_share_p05``
        and ``null_share_q05``, the shares of cells below 0.05, every unit counted alike. NaN without
        cells.
    """
    known = ~np.isnan(p)
    p, q, units = p[known], q[known], units[known]
    if not len(p):
        return {"null_n_units": 0.0} | dict.fromkeys(
            ("null_ks_p", "null_share_p05", "null_share_q05"), math.nan
        )
    _, code, n = np.unique(units, return_inverse=True, return_counts=True)
    cells = np.argsort(code, kind="stable")  # unit by unit
    starts = np.cumsum(n) - n
    generator = np.random.default_rng(0)
    drawn = [p[cells[starts + generator.integers(n)]] for _ in range(_N_DRAWS)]
    weight = 1.0 / (n[code] * len(n))
    return {
        "null_n_units": float(len(n)),
        "null_ks_p": float(np.median([stats.kstest(some, "uniform").pvalue for some in drawn])),
        "null_share_p05": float(weight[p < 0.05].sum()),
        "null_share_q05": float(weight[q < 0.05].sum()),
    }
