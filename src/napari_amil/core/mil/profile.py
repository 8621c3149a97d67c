"""Profile of a bag: the distribution of its named measurements, and class logits from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from napari_amil.core.mil.batch import segment_of, segment_sum

_LEVELS = (0.005, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.995)
_MIDDLE = len(_LEVELS) // 2 + 1  # of the knots, of which there is one more at either end
_MOST_CELLS = 100  # of a unit that count for the knots: one slide of many cells is not what is usual
_RIDGE = 0.03  # C of the logistic regression; chosen on folds 0 and 1 among 0.01 to 0.3
_LEAST_WIDTH = 1e-3  # of a step between two knots, as a share of the range of control cells
_MISSING = -5.0  # logit of a class of which there was no bag


class BagProfile(nn.Module):
    """Logits that are the mean over the cells of a function of each measurement.

    ``u_B = c + 1/N sum_n W (phi(x_n) - phi_0)``, where ``phi`` holds of each measurement how far the cell is
    between neighbouring quantiles of control cells (0 below, 1 above, linear between): the mean of ``phi``
    over a bag describes the distribution of the measurement, and a cell like an average control
    cell, ``phi_0``, adds nothing. ``W`` and ``c`` are a logistic regression with few degrees of freedom: it
    cannot learn slides by heart as a network can. ``u_B`` joins the logits ``s_B`` of the network,
    ``(1 - w) s_B + w u_B``, with the share ``w`` that makes bags most likely which neither has seen.

    Parameters
    ----------
    n_classes, n_measurements
        Number of classes, and of measurements of a cell.
    """

    knots: Tensor
    usual: Tensor
    weight: Tensor
    bias: Tensor
    share: Tensor

    def __init__(self, n_classes: int, n_measurements: int) -> None:
        super().__init__()
        n_steps = len(_LEVELS) + 1
        ends = torch.linspace(-1.0, 1.0, n_steps + 1)
        self.register_buffer("knots", ends[:, None].repeat(1, n_measurements))  # (n_steps + 1, m)
        self.register_buffer("usual", torch.zeros(n_steps, n_measurements))  # phi_0
        self.register_buffer("weight", torch.zeros(n_classes, n_steps, n_measurements))  # W
        self.register_buffer("bias", torch.zeros(n_classes))  # c
        self.register_buffer("share", torch.tensor(0.0))  # w; 0 before a fit

    def set_controls(self, measurements: NDArray[Any], units: NDArray[Any]) -> None:
        """Take quantiles from control cells ``(n, m)``; units ``(n,)``, slides or patients, count alike."""
        own = (np.flatnonzero(units == unit) for unit in np.unique(units))
        rows = [at[np.linspace(0, len(at) - 1, min(len(at), _MOST_CELLS)).astype(int)] for at in own]
        values = np.asarray(measurements, dtype=np.float64)[np.concatenate(rows)]
        unknown = ~np.isfinite(values)
        values = np.where(unknown.all(axis=0), 0.0, np.where(unknown, np.nan, values))
        inner = np.nanquantile(values, _LEVELS, axis=0)
        middle = inner[_MIDDLE - 1]
        knots = np.concatenate([[2 * inner[0] - middle], inner, [2 * inner[-1] - middle]])
        self.knots.copy_(torch.from_numpy(knots))
        self.usual.copy_(self._phi(torch.from_numpy(values).to(self.knots)).mean(dim=0))

    def fit(
        self,
        measurements: NDArray[Any],
        bags: tuple[NDArray[np.int64], ...],
        labels: NDArray[np.int64],
        counted: NDArray[np.bool_],
    ) -> None:
        """Fit to bags of known classes; `set_controls` comes first. The share becomes one half.

        Parameters
        ----------
        measurements
            ``(n_cells, m)``; NaN is unknown and counts as the median of control cells.
        bags
            Rows of the cells of each bag.
        counted
            ``(m,)`` measurements that count.
        """
        rows, position = np.unique(np.concatenate(bags), return_inverse=True)
        each = (self._phi(torch.as_tensor(np.asarray(measurements)[rows]).to(self.knots)) - self.usual).cpu()
        lengths = torch.tensor([len(own) for own in bags])
        total = segment_sum(each[torch.from_numpy(position)], segment_of(lengths), len(bags))
        x = (total / lengths[:, None, None]).double().numpy()[:, :, counted].reshape(len(bags), -1)
        scale = np.maximum(x.std(axis=0), 1e-6)
        found = LogisticRegression(C=_RIDGE, class_weight="balanced", max_iter=2000).fit(x / scale, labels)
        weight, bias = found.coef_ / scale, found.intercept_
        if len(found.classes_) == 2:  # one logit, which tells the second class from the first
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        self.weight.zero_()
        self.bias.fill_(_MISSING)
        place = torch.from_numpy(found.classes_)
        shaped = torch.from_numpy(weight.reshape(len(weight), -1, int(counted.sum()))).to(self.weight)
        whole = self.weight[place]
        whole[:, :, torch.from_numpy(counted)] = shaped
        self.weight[place], self.bias[place] = whole, torch.from_numpy(bias).to(self.bias)
        self.share.fill_(0.5)

    def scale(self, factor: float) -> None:
        """Multiply the logits by a factor."""
        self.weight.mul_(factor)
        self.bias.mul_(factor)

    def forward(self, measurements: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the contributions of cells ``(n_cells, n_classes)``, and the logits ``(n_bags, n_classes)``.

        Parameters
        ----------
        measurements
            ``(n_cells, m)``, bag after bag.
        lengths
            ``(n_bags,)`` sizes of the bags.
        """
        segment = segment_of(lengths)
        apart = (self._phi(measurements.to(self.knots)) - self.usual).flatten(1)
        added = apart @ self.weight.flatten(1).T / lengths.to(self.knots)[segment, None]
        return added, segment_sum(added, segment, len(lengths)) + self.bias

    def _phi(self, measurements: Tensor) -> Tensor:
        """Return ``phi (n_cells, n_steps, m)``."""
        x = torch.where(measurements.isfinite(), measurements, self.knots[_MIDDLE])[:, None]
        least = _LEAST_WIDTH * (self.knots[-1] - self.knots[0]) + 1e-9
        return ((x - self.knots[:-1]) / self.knots.diff(dim=0).maximum(least)).clamp(0.0, 1.0)
