"""Statistics of the named measurements of control cells and the distance of a cell to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Floats
from napari_amil.core.morphology.measures import NAMES, is_empty
from napari_amil.core.morphology.names import names_by_number

_STAINED = frozenset({"blueness", "cytoplasm_blueness"})
"""Measurements of the stain rather than of the cell; they do not enter the distance."""
_LEVELS = np.array(
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999]
)
_LOW, _MEDIAN, _HIGH = (int(np.searchsorted(_LEVELS, level)) for level in (0.025, 0.5, 0.975))
_LEAST_SCALE = 0.2  # of the standard deviation: most cells have no spicule, and a cell with one is common
_MOST = 8.0  # clip at this many control deviations
_FEWEST_CELLS = 20


class ControlMorphology(nn.Module):
    """Quantiles of each measurement among control cells, and a Gaussian of all of them together.

    The deviation of a value ``x`` is ``(x - median) / s`` with ``s = (q97.5 - median) / 1.96`` above and
    ``(median - q2.5) / 1.96`` below the median, so that 95 % of control cells lie within 1.96 on either
    side however skewed a measurement is (of a normal distribution: its mean and standard deviation).

    The distance is that of Mahalanobis between the deviations, at most 8 each and 0 where one is
    unknown, with the covariance of Ledoit and Wolf made rounder: the named morphology alone as an
    anomaly score.

    Parameters
    ----------
    names
        Names of the measurements, those of red cells or of white ones.
    """

    quantiles: Tensor
    scale: Tensor
    mean: Tensor
    factor: Tensor

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        super().__init__()
        self.names = tuple(names)
        n = len(names)
        self.register_buffer("quantiles", torch.zeros(len(_LEVELS), n, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(2, n, dtype=torch.float64))  # s below and above the median
        self.register_buffer("mean", torch.zeros(n, dtype=torch.float64))
        self.register_buffer("factor", torch.eye(n, dtype=torch.float64))  # L, L L^T = Sigma^-1

    @classmethod
    def fit(
        cls, measurements: NDArray[Any], roundness: float = 0.0, weights: ControlWeights | None = None
    ) -> ControlMorphology:
        """Return the statistics of control cells ``(n_cells, n_measurements)``; NaN is unknown.

        Parameters
        ----------
        roundness
            `ModelSettings.roundness`. Some measurements are nearly the same; with none their small
            differences, mostly noise, count like any other direction.
        weights
            Of the cells in the moments of the deviations; None counts all alike. The quantiles are those of
            the reference.

        Raises
        ------
        AmilError
            If there are fewer than 20 cells with all measurements.
        """
        values = np.asarray(measurements, dtype=np.float64)
        known = np.flatnonzero(np.isfinite(values).all(axis=1))
        values, weights = values[known], None if weights is None else weights.take(known)
        reference = values if weights is None else values[weights.reference]
        if (n := len(reference)) < _FEWEST_CELLS:
            raise AmilError(
                f"Morphology needs {_FEWEST_CELLS} whole control cells or more, not {n}; add some."
            )
        statistics = cls(names := names_by_number(values.shape[1]))
        quantiles = np.quantile(reference, _LEVELS, axis=0)
        sides = np.stack([quantiles[_MEDIAN] - quantiles[_LOW], quantiles[_HIGH] - quantiles[_MEDIAN]])
        scale = np.maximum(sides / ndtri(_LEVELS[_HIGH]), _LEAST_SCALE * reference.std(axis=0))
        statistics.quantiles.copy_(torch.from_numpy(quantiles))
        statistics.scale.copy_(torch.from_numpy(np.maximum(scale, 1e-9)))
        deviations = _bounded(statistics.deviations(values), names)
        mean, covariance = _moments(deviations, weights)
        sphere = np.trace(covariance) / len(names) * np.eye(len(names))
        covariance = (1 - roundness) * covariance + roundness * sphere
        factor = np.linalg.inv(np.linalg.cholesky(covariance + 1e-6 * np.eye(len(names)))).T
        statistics.mean.copy_(torch.from_numpy(mean))
        statistics.factor.copy_(torch.from_numpy(np.ascontiguousarray(factor)))
        return statistics

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> ControlMorphology:
        """Return the statistics that a ``state_dict`` describes."""
        statistics = cls(names_by_number(len(state["mean"])))
        statistics.load_state_dict(state)
        return statistics

    def deviations(self, measurements: NDArray[Any]) -> Floats:
        """Return the deviations ``(n_cells, n_measurements)``; NaN where a measurement is."""
        median, (below, above) = self.quantiles[_MEDIAN].numpy(), self.scale.numpy()
        difference = np.asarray(measurements, dtype=np.float64) - median
        return np.asarray(difference / np.where(difference < 0, below, above), dtype=np.float64)

    def distance(self, measurements: NDArray[Any]) -> Floats:
        """Return the distance ``(n_cells,)`` from control cells; NaN where no measurement is known."""
        deviations = self.deviations(measurements)
        centred = _bounded(deviations, self.names) - self.mean.numpy()
        distance = np.linalg.norm(centred @ self.factor.numpy(), axis=1)
        return np.where(np.isfinite(deviations).any(axis=1), distance, np.nan)

    def share_exceeded(self, name: str, value: float, *, high: bool) -> float:
        """Return the share of control cells, 0.001 to 0.999, that have less of a measurement (or more)."""
        others = np.nextafter(value, -np.inf if high else np.inf)  # those that have as much do not count
        below = float(np.interp(others, self.quantiles[:, self.names.index(name)].numpy(), _LEVELS))
        return below if high else 1 - below


def whole_cells(measurements: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask ``(n_cells,)`` of control cells for calibration: all measured ones, or all if none is."""
    empty = is_empty(measurements)
    return np.asarray(~empty | empty.all())


def _moments(deviations: Floats, weights: ControlWeights | None) -> tuple[Floats, Floats]:
    """Return mean and shrunk covariance of deviations; with weights both are weighted."""
    covariance, share = ledoit_wolf(deviations)
    if weights is None:
        return deviations.mean(axis=0), covariance
    mean = weights.mean @ deviations
    apart = deviations - mean
    covariance = (apart * weights.covariance[:, None]).T @ apart
    sphere = np.trace(covariance) / len(mean) * np.eye(len(mean))
    return mean, (1 - share) * covariance + share * sphere


def _bounded(deviations: Floats, names: Sequence[str]) -> Floats:
    """Return deviations for the distance: clipped, and 0 where unknown or of the stain."""
    counted = np.array([name not in _STAINED for name in names])
    return np.where(counted, np.clip(np.nan_to_num(deviations, nan=0.0), -_MOST, _MOST), 0.0)
