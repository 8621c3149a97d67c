"""Share of abnormal cells of a sample, its interval, and a test of the sample as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_amil.core.anomaly.patients import PatientEffects, log_scores
from napari_amil.core.base.types import Floats

LEVEL = 0.9
"""Level of the interval of the share."""
_LAMBDA = 0.5  # Storey's: cells whose p-value is larger count as those of controls
_SHIFTS = (np.arange(99) + 0.5) / 99  # quantiles of the shift of a new patient
_NOISE = stats.norm.ppf((np.arange(39) + 0.5) / 39)  # quantiles of the sampling error of a share


@dataclass(frozen=True)
class AbnormalShare:
    """Share of the cells of a sample that are not from the control population; NaN if not known.

    Parameters
    ----------
    share, low, high
        Estimate, and ends of the 90 % interval.
    p
        Probability of at least this mean score in a new control sample of as many cells.
    """

    share: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")


def abnormal_share(scores: NDArray[Any], effects: PatientEffects | None) -> AbnormalShare:
    """Return the share of abnormal cells among scores ``(n_cells,)`` of one sample; NaN is left out.

    Half of a patient's control cells score below the median control cell, abnormal cells hardly ever do.
    So with the share ``F(b)`` of the sample below the median control cell of a patient who is shifted by
    ``b`` the share of control cells is ``2 F(b)`` (Storey 2002, with lambda 0.5). How the patient of the
    sample is shifted is not known; ``b`` has the distribution of a new patient's (`PatientEffects`). The
    estimate is the median over it, and the interval spans the shifts and the sampling error of ``F``.

    The test compares the mean log score with that of a new control patient, ``m + s T`` and the
    sampling error, with ``T`` of Student's distribution with K - 1 degrees of freedom.
    """
    x = log_scores(np.asarray(scores, dtype=np.float64))
    x = np.sort(x[~np.isnan(x)])
    if effects is None or not len(x):
        return AbnormalShare()
    order = np.argsort(effects.residual, kind="stable")
    below = int(np.searchsorted(effects.weight[order].cumsum(), 1.0 - _LAMBDA))
    middle = effects.location + effects.residual[order[min(below, len(order) - 1)]]
    freedom = effects.n_patients - 1
    shift = effects.error * stats.t.ppf(_SHIFTS, freedom)  # b
    low = np.searchsorted(x, middle + shift) / len(x)  # F(b)
    error = np.sqrt((low * (1.0 - low) + 0.25 / len(x)) / len(x))
    drawn = _abnormal(low[:, None] + error[:, None] * _NOISE)
    tails = (1.0 - LEVEL) / 2.0
    ends = np.quantile(drawn, [tails, 1.0 - tails])
    variance = effects.error**2 + effects.weight @ effects.residual**2 / len(x)
    p = stats.t.sf((x.mean() - effects.location) / np.sqrt(variance), freedom)
    return AbnormalShare(float(np.median(_abnormal(low))), float(ends[0]), float(ends[1]), float(p))


def _abnormal(low: Floats) -> Floats:
    """Return the share of abnormal cells where ``low`` of the cells score like the lower control cells."""
    return np.clip(1.0 - low / (1.0 - _LAMBDA), 0.0, 1.0)
