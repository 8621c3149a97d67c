"""Reliability of probabilities and p-values: metrics and figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import binomtest

from napari_amil.core.base.types import ABSTAIN, UNSEEN, Floats
from napari_amil.core.evaluation.figures import COLOURS, panels

_N_DRAWS = 200


def null_metrics(p: NDArray[Any], q: NDArray[Any], units: NDArray[Any]) -> dict[str, float]:
    """Return the distance of control cells' p-values from uniform, and the share of small q-values.

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


_MOST_BINS = 5
_FEWEST_IN_BIN = 4
_LINE: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 0.8, "linestyle": "--", "zorder": 0}


def draw_reliability(
    correct: NDArray[np.bool_], probability: NDArray[np.float64], null_p: NDArray[np.float64]
) -> Figure:
    """Draw accuracy by confidence, the risk when doubtful bags are left out, and control p-values.

    Parameters
    ----------
    correct, probability
        ``(n_bags,)`` whether the most probable class is the true one, and its probability. Bags are put
        into at most five bins of equal size, each with its 95 % Wilson interval.
    null_p
        ``(n_cells,)`` p-values of the cells of control bags; NaN is left out.
    """
    figure, ((bags, risk, cells),) = panels(1, 3, (12.6, 4.0))
    _draw_bins(bags, correct, probability)
    _draw_risk(risk, *risk_coverage(correct, probability))
    _draw_null(cells, null_p[np.isfinite(null_p)])
    return figure


def reliability_bins(
    correct: NDArray[np.bool_], probability: NDArray[np.float64]
) -> list[tuple[float, float, float, float]]:
    """Return mean probability, share of right calls and the ends of its interval, bin by bin."""
    n_bins = int(np.clip(len(correct) // _FEWEST_IN_BIN, 1, _MOST_BINS))
    rows = []
    for part in np.array_split(np.argsort(probability, kind="stable"), n_bins):
        if len(part):
            found = binomtest(int(correct[part].sum()), len(part)).proportion_ci(method="wilson")
            mean = float(probability[part].mean()), float(correct[part].mean())
            rows.append((*mean, float(found.low), float(found.high)))
    return rows


def calibration_error(correct: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """Return the expected calibration error over ten bins of equal width (Guo et al. 2017); NaN of none.

    It is the mean over bags of the difference between the mean probability of a bin and its share of
    right calls.
    """
    if not len(correct):
        return math.nan
    bins = np.minimum((np.asarray(probability) * 10).astype(int), 9)
    gap = np.bincount(bins, np.asarray(probability) - correct, minlength=10)
    return float(np.abs(gap).sum() / len(correct))


def verdict_metrics(verdicts: Sequence[str], labels: Sequence[str], control: str) -> dict[str, float]:
    """Return the numbers of bags given a class, given their own class, and given none.

    Parameters
    ----------
    verdicts, labels
        ``(n_bags,)`` verdict and true class.
    control
        Name of the control class.

    Returns
    -------
    dict
        ``verdict_named``, ``verdict_abstain`` and ``verdict_unseen``: number of bags that are given a class,
        on which the model abstains, and that are unlike anything seen; ``verdict_right``: of those named
        how many rightly; ``verdict_control``: control bags that are called control.
    """
    called, true = np.asarray(verdicts, dtype=object), np.asarray(labels, dtype=object)
    abstained, unseen, right = called == ABSTAIN, called == UNSEEN, called == true
    counted = {"named": ~(abstained | unseen), "abstain": abstained, "unseen": unseen, "right": right}
    counted["control"] = right & (true == control)
    return {f"verdict_{name}": float(which.sum()) for name, which in counted.items()}


def risk_coverage(correct: NDArray[np.bool_], probability: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Return coverage and risk ``(n_bags,)`` when the most certain 1, 2, ... bags are called.

    The risk is the share of wrong calls among them.
    """
    order = np.argsort(-np.asarray(probability), kind="stable")
    called = np.arange(1, len(order) + 1)
    return called / max(len(order), 1), np.cumsum(~np.asarray(correct)[order]) / called


def _draw_risk(ax: Axes, coverage: Floats, risk: Floats) -> None:
    ax.plot(coverage, risk, color=COLOURS[0], linewidth=1.6, drawstyle="steps-post")
    ax.set(xlim=(0, 1), ylim=(0, 1), title="When doubtful bags are left out")
    ax.set(xlabel="Share of the bags that are called", ylabel="Share of them called wrongly")


def _draw_bins(ax: Axes, correct: NDArray[np.bool_], probability: NDArray[np.float64]) -> None:
    bins = np.array(reliability_bins(correct, probability)).reshape(-1, 4)
    ax.plot([0, 1], [0, 1], **_LINE)
    ax.vlines(bins[:, 0], bins[:, 2], bins[:, 3], color=COLOURS[0], linewidth=1.6)
    ax.plot(bins[:, 0], bins[:, 1], "o-", color=COLOURS[0], markersize=5, linewidth=1)
    ax.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), title=f"{len(correct)} bags, 95 % intervals")
    ax.set(xlabel="Probability of the predicted class", ylabel="Share of these bags called rightly")


def _draw_null(ax: Axes, p: NDArray[np.float64]) -> None:
    ax.plot([0, 1], [0, 1], **_LINE)
    if len(p):
        ax.ecdf(p, color=COLOURS[1], linewidth=1.6)
    ax.set(xlim=(0, 1), ylim=(0, 1), title=f"{len(p)} cells of control bags")
    ax.set(xlabel="p-value", ylabel="Share of the cells with this p-value or less")
