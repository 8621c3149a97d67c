"""Random effects of patients on the scores of their cells, and draws of patients with replacement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import Tensor

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Floats

N_REFITS = 100
"""Refits of the statistics of control cells to drawn patients, from which standard errors come."""

_CELLS_OF_A_UNIT = 10
"""Least cells of a unit that says how units differ; chosen on folds 0 and 1."""
_BULK, _TOP, _TAIL = 128, 32, 48  # points of the table: quantiles, largest scores, beyond them


@dataclass(frozen=True, eq=False)
class PatientEffects:
    """A random effect of the patient on the logarithm of a positive score.

    ``log d_ki = m + b_k + e_ki`` for cell i of patient k: ``b_k`` is normal with variance ``tau^2``, the
    ``e_ki`` may have any distribution. For a new patient

        ``P(D >= d) = sum_ki w_ki P(T >= (log d - m - e_ki) / s)``

    with ``T`` of Student's distribution with K - 1 degrees of freedom, ``s^2 = tau^2 + var(m)``, and
    weights that count every patient alike, however many cells are known: those of whom few are may
    differ in more than that. So ``m`` is the mean of the patients' means and ``tau^2`` their variance
    less what the number of cells explains (Hedges 1983); ``b_k`` is the best linear unbiased prediction
    (Searle, Casella & McCulloch 1992, 7.4).

    Parameters
    ----------
    location
        ``m``
    spread
        ``tau``, the standard deviation of ``b_k``.
    error
        ``s``, that of the location of a new patient as it is predicted.
    n_patients
        ``K``
    residual, weight
        ``e_ki`` and ``w_ki (n_cells,)``; the weights sum to 1.
    """

    location: float
    spread: float
    error: float
    n_patients: int
    residual: Floats
    weight: Floats

    @classmethod
    def fit(cls, scores: NDArray[Any], patients: NDArray[Any]) -> PatientEffects | None:
        """Return the effects in positive scores ``(n_cells,)``; None where they cannot be estimated.

        That is so with a single patient, and where no patient has two cells.
        """
        x = log_scores(scores)
        _, code, n = np.unique(patients, return_inverse=True, return_counts=True)
        n_cells, n_patients = len(x), len(n)
        if n_patients < 2 or n_patients == n_cells:
            return None
        mean = np.bincount(code, x) / n  # (n_patients,)
        within = max(float(((x - mean[code]) ** 2).sum() / (n_cells - n_patients)), 1e-12)
        sampling = within / n  # (n_patients,) variance of a mean, given its patient
        variance = max(float(mean.var(ddof=1) - sampling.mean()), 0.0)  # tau^2
        location = float(mean.mean())
        effect = variance / (variance + sampling) * (mean - location)  # b_k (n_patients,)
        error = float(np.sqrt(variance + (variance + sampling.mean()) / n_patients))
        residual = x - location - effect[code]
        weight = (1.0 / (n_patients * n))[code]
        return cls(location, float(np.sqrt(variance)), error, n_patients, residual, weight)

    def survival(self, scores: NDArray[Any]) -> Floats:
        """Return the probability ``(n,)`` of at least this score in a new patient."""
        x, log_p = self._table
        return np.exp(np.interp(log_scores(scores), x, log_p, left=0.0, right=-np.inf))

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        """Logarithms of scores, ascending, and of their probability: the sum, computed once."""
        known = np.sort(self.location + self.residual)
        reach = self.error * float(stats.t.isf(0.1 / (len(known) + 1), self.n_patients - 1))
        bulk = np.quantile(known, np.linspace(0, 1, _BULK))
        sides = np.geomspace(self.error / 8, reach, _TAIL)
        x = np.unique(np.concatenate([known[0] - sides[::8], bulk, known[-_TOP:], known[-1] + sides]))
        scaled = (x[:, None] - self.location - self.residual) / self.error
        p = [self.weight @ special.stdtr(self.n_patients - 1, -row) for row in scaled]
        return x, np.log(np.maximum(p, np.finfo(np.float64).tiny))


@dataclass(frozen=True, eq=False)
class ControlWeights:
    """Weights of control cells in the moments to which distances refer: every unit counts alike.

    The cell of a new unit differs from the mean of controls by what units differ (covariance ``B``) and by
    what cells of a unit do (``W``). Where all K units count alike, however many cells are known,
    the covariance of all cells is ``W + B`` of a random effect of the unit. The mean is that of the
    reference alone.

    Parameters
    ----------
    unit
        ``(n_cells,)`` one over the number of control cells of the unit; 0 in a unit of few cells.
    reference
        ``(n_cells,)`` False for a cell that tells how units differ, but has no part in the mean.
    """

    unit: Floats
    reference: NDArray[np.bool_]

    @classmethod
    def from_units(
        cls, units: Sequence[str] | NDArray[Any], reference: NDArray[np.bool_] | None = None
    ) -> ControlWeights:
        """Return the weights of cells ``(n_cells,)`` of these units.

        Units of fewer than 10 cells count only where the reference has no larger one.
        """
        _, code, n = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
        known = np.ones(len(code), dtype=bool) if reference is None else reference
        size = n[code]
        enough = size >= _CELLS_OF_A_UNIT
        unit = np.where(enough | ~(enough & known).any(), 1.0 / size, 0.0)
        return cls(unit, known)

    @property
    def mean(self) -> Floats:
        """``(n_cells,)`` weights in the mean; they sum to 1. Without any cell of the reference all count."""
        return _shares(self.unit * self.reference, self.reference, self.unit, np.ones(len(self.unit)))

    @property
    def covariance(self) -> Floats:
        """``(n_cells,)`` weights in the covariance; they sum to 1."""
        return _shares(self.unit, np.ones(len(self.unit)))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> ControlWeights:
        """Return the weights of the cells at ``rows``."""
        return ControlWeights(self.unit[rows], self.reference[rows])


def _shares(*weights: NDArray[Any]) -> Floats:
    """Return the first of some weights that are not all 0, over their sum."""
    some = next(weight for weight in weights if weight.any()).astype(np.float64)
    return np.asarray(some / some.sum())


def log_scores(scores: NDArray[Any]) -> Floats:
    """Return logarithms, of 0 a very small number; NaN stays NaN."""
    return np.log(np.maximum(scores, np.finfo(np.float64).tiny))


def patient_codes(patients: Sequence[str] | NDArray[Any] | Tensor) -> NDArray[np.int64]:
    """Return the patients as numbers from 0, in the order of their names."""
    return np.unique(np.asarray(patients), return_inverse=True)[1].astype(np.int64)


def drawn_patients(n_patients: int) -> Tensor:
    """Return the numbers of the patients of each draw, ``(N_REFITS, n_patients)``; always the same draws."""
    return torch.randint(n_patients, (N_REFITS, n_patients), generator=torch.Generator().manual_seed(0))


def parts_of_patients(patients: Sequence[str] | NDArray[Any], n_splits: int = 5) -> NDArray[np.int64]:
    """Return the number of the part ``(n,)`` with which each cell is left out, whole patients together.

    Raises
    ------
    AmilError
        If all cells are of one patient.
    """
    codes = patient_codes(patients)
    n_patients = int(codes.max(initial=-1)) + 1
    if n_patients < 2:
        raise AmilError(
            "The calibration leaves out one control patient after the other, but there is only one; add some."
        )
    return codes % min(n_splits, n_patients)
