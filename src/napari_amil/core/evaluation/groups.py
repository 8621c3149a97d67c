"""Comparison of two groups of patients by permutation tests and Cliff's delta."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from napari_amil.core.base.errors import AmilError

_RESAMPLES = 9999
_LEAST_PATIENTS = 2


def per_patient(
    cells: pd.DataFrame, patient: pd.Series, group: pd.Series, names: Sequence[str]
) -> pd.DataFrame:
    """Return the mean over the cells of each patient in each group: ``group``, ``patient``, and ``names``.

    Parameters
    ----------
    patient, group
        Of each cell; cells without a group are left out.
    """
    table = cells[list(names)].astype(float).assign(patient=patient.to_numpy(), group=group.to_numpy())
    return table.dropna(subset=["group"]).groupby(["group", "patient"], as_index=False).mean()


def compare_groups(
    values: pd.DataFrame, names: Sequence[str], order: Sequence[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Compare two groups in each of ``names``; one number of each patient counts.

    Where every patient is in both groups, as before and after a treatment, patients are compared with
    themselves: signs are flipped at random. Else patients are dealt to the groups at random. Both
    count how often chance alone gives a difference of means as large (`scipy.stats.permutation_test`).
    Cliff's delta is the share of pairs of patients in which the second group has more, less the
    share in which it has less: -1 to 1.

    Parameters
    ----------
    values
        As `per_patient` returns it.
    order
        Which group is the first, as before a treatment; by default that of the alphabet.

    Returns
    -------
    pandas.DataFrame
        ``statistic``, ``first``, ``second`` (the groups), ``n_first``, ``n_second``, ``mean_first``,
        ``mean_second``, ``difference``, ``cliffs_delta``, ``p``, ``paired``.

    Raises
    ------
    AmilError
        If there are not two groups of at least two patients.
    """
    present = set(values["group"])
    groups = sorted(present) if order is None else [name for name in order if name in present]
    if len(groups) != 2:
        raise AmilError(f"A comparison needs two groups, not {len(groups)} ({', '.join(map(str, groups))}).")
    first, second = (values[values["group"] == name].set_index("patient") for name in groups)
    if min(len(first), len(second)) < _LEAST_PATIENTS:
        raise AmilError(
            f"The groups {groups[0]} and {groups[1]} hold {len(first)} and {len(second)} patients; "
            "each needs at least two, since patients are what is counted."
        )
    paired = set(first.index) == set(second.index)
    if not paired and set(first.index) & set(second.index):
        raise AmilError(
            "Some patients are in both groups and some in one; leave the latter out, or part them."
        )
    lines = []
    for name in names:
        a = first[name].to_numpy(np.float64)
        b = second.loc[first.index if paired else second.index, name].to_numpy(np.float64)
        known = np.isfinite(a) & np.isfinite(b) if paired else None
        a, b = (a[known], b[known]) if paired else (a[np.isfinite(a)], b[np.isfinite(b)])
        line = {
            "statistic": name,
            "first": groups[0],
            "second": groups[1],
            "n_first": len(a),
            "n_second": len(b),
        }
        lines.append({**line, **_compared(a, b, paired=paired, seed=seed), "paired": paired})
    return pd.DataFrame(lines)


def cliffs_delta(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the share of pairs with ``b > a`` less that with ``b < a``."""
    return float(np.sign(b[:, None] - a[None, :]).mean())


def _compared(a: NDArray[np.float64], b: NDArray[np.float64], *, paired: bool, seed: int) -> dict[str, float]:
    if min(len(a), len(b)) < _LEAST_PATIENTS:
        return dict.fromkeys(("mean_first", "mean_second", "difference", "cliffs_delta", "p"), float("nan"))
    tested = stats.permutation_test(
        (b, a),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return {
        "mean_first": float(a.mean()),
        "mean_second": float(b.mean()),
        "difference": float(b.mean() - a.mean()),
        "cliffs_delta": cliffs_delta(a, b),
        "p": float(tested.pvalue),
    }
