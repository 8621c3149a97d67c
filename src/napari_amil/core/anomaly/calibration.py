"""Percentiles, p-values and q-values from the scores of held-out control cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from torch import Tensor, nn

from napari_amil.core.anomaly.patients import PatientEffects, patient_codes
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Floats

_PATIENTS_TO_COUNT = 3
"""Patients whose cells are enough to count; rarer scores are judged by the model of how patients differ.
Chosen on the control cells of folds 0 and 1, some of whose images calibrated the others."""
_ROUNDING = 1e-9


class Calibration(nn.Module):
    """Sorted scores of held-out controls, and of whom each is.

    The next cell is of another patient. Where the patients are known, every patient counts alike, and
    with ``S(d)`` the mean over K patients of the share of their cells at least as far, the p-value is
    ``(1 + K S(d)) / (K + 1)``, which needs no assumption but that patients are exchangeable (Lee,
    Barber & Willett 2023). It cannot be small with few patients. So from where ``S(d)`` falls below
    ``3 / K`` on (or below a half) it falls as the chance does that a cell of a *new* patient scores as
    high, with the differences between patients estimated (`PatientEffects`). Where the patients are
    not known, cells are taken as exchangeable and the p-value is the conformal one (Bates et al.
    2023, eq. 2).

    Parameters
    ----------
    distances
        ``(n_control,)`` distances of held-out control cells (or scores of bags), any order.
    patients
        ``(n_control,)`` whose they are, as names or numbers; None where that is not known.
    in_sample
        Mean distance of the control cells that Gaussian and network did see; NaN if not known.
    """

    distances: Tensor
    patients: Tensor | None
    in_sample: Tensor

    def __init__(
        self,
        distances: Tensor | NDArray[Any],
        patients: Sequence[str] | NDArray[Any] | Tensor | None = None,
        in_sample: float = float("nan"),
    ) -> None:
        super().__init__()
        values = torch.as_tensor(distances).detach().double().flatten()
        if not len(values) or not bool(torch.isfinite(values).all()):
            raise AmilError(
                "A calibration needs finite distances of at least one control cell; add control bags."
            )
        order = values.argsort(stable=True)
        codes = None if patients is None else torch.from_numpy(patient_codes(patients))[order]
        self.register_buffer("distances", values[order])  # (n_control,)
        self.register_buffer("patients", codes)  # (n_control,)
        self.register_buffer("in_sample", torch.tensor(in_sample, dtype=torch.float64))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Calibration:
        """Return the calibration that a ``state_dict`` describes."""
        return cls(state["distances"], state.get("patients"), float(state.get("in_sample", float("nan"))))

    def __len__(self) -> int:
        return len(self.distances)

    @property
    def n_patients(self) -> int:
        """Number of patients; 0 where they are not known."""
        return 0 if self.patients is None else len(self.patients.unique())

    @property
    def center(self) -> float:
        """Mean distance of a held-out control cell."""
        return float(self.distances.mean())

    @property
    def scale(self) -> float:
        """Standard deviation of the distance of held-out control cells; never 0."""
        return max(float(self.distances.std(correction=0)), 1e-6)

    @cached_property
    def effects(self) -> PatientEffects | None:
        """Random effects of the patients; None where they cannot be estimated."""
        if self.patients is None:
            return None
        return PatientEffects.fit(self._sorted, self.patients.cpu().numpy())

    def percentile(self, d: Tensor | NDArray[Any]) -> Floats:
        """Return the share of held-out control cells that are less anomalous, 0 to 100."""
        d = _floats(d)
        below = np.concatenate([[0.0], self._weight.cumsum()])
        less = below[np.searchsorted(self._sorted, d, side="left")]
        return np.where(np.isnan(d), np.nan, np.minimum(100.0 * less, 100.0))

    def percentile_error(self, d: Tensor | NDArray[Any]) -> Floats:
        """Return the standard error of `percentile` if the control patients had been others.

        A percentile is a mean over patients, so the bootstrap over patients has a closed form; NaN
        where the patients are not known.
        """
        d = _floats(d)
        if self.patients is None or self.n_patients < 2:
            return np.full(d.shape, np.nan)
        codes, mean = self.patients.cpu().numpy(), self.percentile(d) / 100.0
        square = np.zeros(d.shape)
        for code in range(self.n_patients):
            own = codes == code
            less = np.searchsorted(self._sorted[own], d, side="left") / own.sum()
            square += self._weight[own].sum() ** 2 * (less - mean) ** 2
        return 100.0 * np.sqrt(square * self.n_patients / (self.n_patients - 1))

    def p_value(self, d: Tensor | NDArray[Any]) -> Floats:
        """Return p-values; at least ``1 / (n + 1)``, ``n`` the number of control cells."""
        d = _floats(d)
        n, share = len(self), self._farther(d)
        if self.effects is None:
            return (1.0 + n * share) / (n + 1.0)
        edge, factor = self._edge
        tail = np.maximum(factor * self.effects.survival(d), 1.0 / (n + 1.0))
        return np.where(d > edge, tail, self._among_patients(share))

    def _farther(self, d: Floats) -> Floats:
        """Return ``S(d)``: the share of held-out control cells at least as far; NaN stays NaN."""
        return 1.0 - self.percentile(d) / 100.0

    def _among_patients(self, share: Floats) -> Floats:
        """Return the p-values of shares ``S(d)`` that patients make up."""
        return (1.0 + self.n_patients * share) / (self.n_patients + 1.0)

    @cached_property
    def _edge(self) -> tuple[float, float]:
        """Largest distance at which patients can be counted, and p over their modelled share there."""
        assert self.effects is not None
        share = self._farther(self._sorted)
        last = int(np.flatnonzero(share >= min(_PATIENTS_TO_COUNT / self.n_patients, 0.5) - _ROUNDING)[-1])
        edge = self._sorted[last : last + 1]
        p = self._among_patients(share[last : last + 1])
        return float(edge[0]), float(p[0] / self.effects.survival(edge)[0])

    @cached_property
    def _sorted(self) -> Floats:
        return self.distances.cpu().numpy()

    @cached_property
    def _weight(self) -> Floats:
        """Weights of the control cells; they sum to 1."""
        return np.full(len(self), 1.0 / len(self)) if self.effects is None else self.effects.weight


def q_value(p: NDArray[Any]) -> Floats:
    """Return Benjamini-Hochberg q-values of the p-values of one sample; NaN stays NaN."""
    q = np.full(np.shape(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = false_discovery_control(np.asarray(p)[known])
    return q


def _floats(d: Tensor | NDArray[Any]) -> Floats:
    """Return distances as a float64 array."""
    return np.asarray(torch.as_tensor(d).detach().cpu().double())
