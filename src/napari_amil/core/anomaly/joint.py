"""Joint distance of several anomaly scores of one cell, on the scale of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp
from torch import Tensor, nn

from napari_amil.core.base.types import Floats

_ALONE = 1 / 256
"""Bonferroni weight of one network alone. Chosen on fold 0 among 1/32 to 1/1000: unseen cells are found
better, and of known cells at a false alarm in a hundred no fewer."""


class JointDistance(nn.Module):
    """The distance at which a control cell is as rare as the scores of a cell are together.

    A network that never saw a kind of cell may map it onto control cells; its named measurements
    cannot be mapped away. No score has a unit, so each of the n scores ``d_i`` becomes the share of
    control cells that lie at least as far, by the lognormal distribution of held-out control cells,
    ``S_i(d_i) = 1 - Phi((ln d_i - m_i) / s_i)``. These are p-values of one cell. Their weighted mean (Vovk
    & Wang 2020, section 3)

        ``Q = sum_i w_i S_i(d_i)``,  ``sum_i w_i = 1``

    is small only where all are. A cell that is very rare to a network need not look odd to the
    measurements, so the smallest of ``Q`` and ``256 S_i(d_i)`` over the networks i counts (a weighted
    Bonferroni rule, Genovese, Roeder & Wasserman 2006). Where another score than the first is unknown
    it counts as that of a median control cell, ``S_i = 1/2``; where the first is unknown so is D.
    The joint distance D is where a control cell's ``d_1`` has that share, so that it is on the scale
    of ``d_1``; a `Calibration` of joint distances ranks it.

    Parameters
    ----------
    center, spread
        ``(n,)`` mean and standard deviation of ``ln d_i`` among held-out control cells.
    weights
        ``(n,)`` w, sums to 1.
    alone
        ``(n,)`` which scores are those of networks, each of which counts alone where it is extreme.
    """

    center: Tensor
    spread: Tensor
    weights: Tensor
    alone: Tensor

    def __init__(self, center: Tensor, spread: Tensor, weights: Tensor, alone: Tensor) -> None:
        super().__init__()
        self.register_buffer("center", center.double())
        self.register_buffer("spread", spread.double())
        self.register_buffer("weights", weights.double())
        self.register_buffer("alone", alone.bool())

    @classmethod
    def fit(
        cls, scores: Sequence[NDArray[Any]], weights: Sequence[float], alone: Sequence[bool]
    ) -> JointDistance:
        """Return the joint distance that refers to ``n`` scores of held-out control cells; NaN is unknown."""
        logs = [np.log(values[values > 0]) for values in map(np.asarray, scores)]
        center = torch.tensor([float(log.mean()) for log in logs], dtype=torch.float64)
        spread = torch.tensor([max(float(log.std()), 1e-6) for log in logs], dtype=torch.float64)
        return cls(center, spread, torch.tensor(weights, dtype=torch.float64), torch.tensor(alone))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> JointDistance:
        """Return the joint distance that a ``state_dict`` describes."""
        return cls(state["center"], state["spread"], state["weights"], state["alone"])

    def distance(self, scores: Sequence[NDArray[Any]]) -> Floats:
        """Return the joint distances ``(n_cells,)`` of ``n`` scores ``(n_cells,)`` each."""
        first, *others = (self._log_share(d, i) for i, d in enumerate(scores))
        logs = [first, *(np.where(np.isnan(log), np.log(0.5), log) for log in others)]
        with np.errstate(divide="ignore", invalid="ignore"):  # a weight of 0, an unknown cell
            weighted = [weight + log for weight, log in zip(np.log(self.weights.numpy()), logs, strict=True)]
            share = reduce(np.logaddexp, weighted)  # ln Q (n_cells,)
        for log, is_network in zip(logs, self.alone.tolist(), strict=True):
            share = np.minimum(share, log - np.log(_ALONE)) if is_network else share
        return np.exp(float(self.center[0]) - float(self.spread[0]) * ndtri_exp(np.minimum(share, 0.0)))

    def shares(self, scores: Sequence[NDArray[Any]]) -> Floats:
        """Return ``S_i(d_i)``, ``(n_cells, n)``: the shares of control cells that lie as far."""
        return np.exp(np.column_stack([self._log_share(d, i) for i, d in enumerate(scores)]))

    def _log_share(self, distance: NDArray[Any], which: int) -> Floats:
        """Return ``ln S_i(d)``: of control cells, the share that lies as far, however small it is."""
        with np.errstate(divide="ignore"):
            log_d = np.log(np.asarray(distance, dtype=np.float64))
        return log_ndtr((float(self.center[which]) - log_d) / float(self.spread[which]))
