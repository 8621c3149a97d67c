"""One distance from two: how rare a cell is to the network and by its named measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp
from torch import Tensor, nn

from napari_amil.core.base.types import Floats

_ALONE = 1 / 256
"""How much less than being rare in both counts being rare to the network alone. Chosen on fold 0 among 1/32
to 1/1000: unseen cells are found better, and of known cells at a false alarm in a hundred no fewer."""


class JointDistance(nn.Module):
    """The distance at which a control cell is as rare as two rarities are together.

    A network that never saw a kind of cell may map it onto control cells; its named measurements
    cannot be mapped away. Neither distance has a unit, so each becomes the share of control cells
    that lie at least as far, by the lognormal distribution of held-out control cells,
    ``S(d) = 1 - Phi((ln d - m) / s)``. These are two p-values of one cell. Their mean (Vovk & Wang
    2020, section 3)

        ``Q = (1 - w) S(d) + w S'(d')``

    is small only where both are. A cell that is very rare to the network need not look odd to the
    measurements, so the smaller of ``Q`` and ``256 S(d)`` counts (a weighted Bonferroni rule, Genovese,
    Roeder & Wasserman 2006). A cell that cannot be measured counts as usual there, ``S'(d') = 1/2``.
    The joint distance D is where a control cell's ``d`` has that share, so that it is on the scale of
    ``d``; what it means is said by a `Calibration` of joint distances.

    Parameters
    ----------
    center, spread
        ``(2,)`` mean and standard deviation of ``ln d`` and ``ln d'`` among held-out control cells.
    weight
        w, from 0 (network alone) to 1 (measurements alone).
    """

    center: Tensor
    spread: Tensor
    weight: Tensor

    def __init__(self, center: Tensor, spread: Tensor, weight: float) -> None:
        super().__init__()
        self.register_buffer("center", center.double())
        self.register_buffer("spread", spread.double())
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float64))

    @classmethod
    def of(cls, latent: NDArray[Any], morphology: NDArray[Any], weight: float) -> JointDistance:
        """Return the joint distance that refers to those of held-out control cells; NaN is unknown."""
        logs = [np.log(values[values > 0]) for values in (np.asarray(latent), np.asarray(morphology))]
        center, spread = (np.array([of(log) for log in logs]) for of in (np.mean, np.std))
        return cls(torch.from_numpy(center), torch.from_numpy(np.maximum(spread, 1e-6)), weight)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> JointDistance:
        """Return the joint distance that a ``state_dict`` describes."""
        return cls(state["center"], state["spread"], float(state["weight"]))

    def distance(self, latent: NDArray[Any], morphology: NDArray[Any]) -> Floats:
        """Return the joint distances ``(n_cells,)``.

        Parameters
        ----------
        latent
            ``(n_cells,)`` distances d to the control Gaussian (`LatentGaussian.distance`).
        morphology
            ``(n_cells,)`` distances d' of the named measurements (`ControlMorphology.distance`), NaN
            where a cell cannot be measured.
        """
        by_network, by_shape = (self._log_share(d, i) for i, d in enumerate((latent, morphology)))
        by_shape = np.where(np.isnan(by_shape), np.log(0.5), by_shape)
        with np.errstate(divide="ignore", invalid="ignore"):  # a weight of 0, an unknown cell
            log_weights = np.log([1.0 - float(self.weight), float(self.weight)])
            both = np.logaddexp(log_weights[0] + by_network, log_weights[1] + by_shape)
        share = np.minimum(both, by_network - np.log(_ALONE))
        return np.exp(float(self.center[0]) - float(self.spread[0]) * ndtri_exp(np.minimum(share, 0.0)))

    def shares(self, latent: NDArray[Any], morphology: NDArray[Any]) -> Floats:
        """Return ``S(d)`` and ``S'(d')``, ``(n_cells, 2)``: shares of control cells that lie as far."""
        return np.exp(np.column_stack([self._log_share(latent, 0), self._log_share(morphology, 1)]))

    def _log_share(self, distance: NDArray[Any], which: int) -> Floats:
        """Return ``ln S(d)``: of control cells, the share that lies as far, however small it is."""
        with np.errstate(divide="ignore"):
            log_d = np.log(np.asarray(distance, dtype=np.float64))
        return log_ndtr((float(self.center[which]) - log_d) / float(self.spread[which]))


def anomaly_of(joint: JointDistance | None, latent: NDArray[Any], morphology: NDArray[Any]) -> Floats:
    """Return the anomaly ``(n_cells,)`` of cells: the joint distance, or the network's without one."""
    if joint is None:
        return np.asarray(latent, dtype=np.float64)
    return joint.distance(latent, morphology)
