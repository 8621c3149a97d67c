"""From attention a_n and distance d_n to the weight p_n with which a cell enters the bag vector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from napari_amil.core.base.errors import AmilError
from napari_amil.core.mil.batch import segment_extreme, segment_of, segment_softmax

Pooling = Literal["attention", "anomaly", "both"]
Transform = Literal["softmax", "raw", "standardize", "minmax"]

STANDARD_RANGE = (-3.0, 10.0)
"""Control deviations beyond which a distance counts no more: one odd speck must not outvote a bag."""


class ScorePooling(nn.Module):
    """A 1x1 convolution of the scores: ``p_n = w_A a_n + w_D T(d_n) + b`` (eq. 5).

    ``pooling="attention"`` is ABMIL, ``p_n = a_n``, without parameters. ``T`` is

    * ``raw``: ``d_n`` (the paper); ``softmax``: softmax over the bag (the published code);
      ``minmax``: 0 to 1 within the bag, 0 where all distances are equal;
    * ``standardize``: ``(d_n - m) / (s N)``. ``m`` and ``s`` are mean and standard deviation of the
      distances of held-out control cells, stored here, not of the bag: in a bag of which half
      the cells are ill, its own statistics would hide them. ``N`` is the number of cells, which
      makes T a mean over the bag, on one scale with the attention, for small and large bags.
      The bias is divided by ``N`` for the same reason.

    Parameters
    ----------
    pooling
        Which scores enter.
    transform
        T.
    bias
        Whether there is a b: the code has one, the paper none.
    """

    distance_center: Tensor
    distance_scale: Tensor

    def __init__(self, pooling: Pooling, transform: Transform, *, bias: bool = True) -> None:
        super().__init__()
        self.pooling = pooling
        self.transform = transform
        n_channels = 2 if pooling == "both" else 1
        self.bias = bias
        self.convolution = None if pooling == "attention" else nn.Linear(n_channels, 1, bias=bias)
        if self.convolution is not None and transform == "standardize":
            nn.init.ones_(self.convolution.weight)
            if bias:
                nn.init.zeros_(self.convolution.bias)
        self.register_buffer("distance_center", torch.tensor(0.0))  # m
        self.register_buffer("distance_scale", torch.tensor(1.0))  # s

    @property
    def needs_control_distances(self) -> bool:
        """Whether mean and deviation of control distances enter the weight of a cell."""
        return self.convolution is not None and self.transform == "standardize"

    def set_control_distances(self, center: float, scale: float) -> None:
        """Store mean and standard deviation of the distances of held-out control cells."""
        self.distance_center.fill_(center)
        self.distance_scale.fill_(scale)

    def forward(self, a: Tensor, d: Tensor | None, lengths: Tensor) -> Tensor:
        """Return ``p_n (n_cells,)``; it need not be positive nor sum to 1.

        Parameters
        ----------
        a
            ``(n_cells,)`` attention.
        d
            ``(n_cells,)`` distances; None is allowed where they do not enter.
        lengths
            ``(n_bags,)`` sizes of the bags.
        """
        if self.convolution is None:
            return a
        if d is None:
            raise AmilError(
                f"Pooling '{self.pooling}' needs the distance of every cell, but none were given."
            )
        t = self._transformed(d.to(a), lengths)  # T(d_n) (n_cells,)
        scores = torch.stack((a, t) if self.pooling == "both" else (t,), dim=1)  # (n_cells, channels)
        p = scores @ self.convolution.weight[0]  # (n_cells,)
        if not self.bias:
            return p
        per_cell = lengths[segment_of(lengths)].to(p) if self.transform == "standardize" else 1.0
        return p + self.convolution.bias / per_cell

    def _transformed(self, d: Tensor, lengths: Tensor) -> Tensor:
        """Return ``T(d_n) (n_cells,)``."""
        segment, n_bags = segment_of(lengths), len(lengths)
        if self.transform == "raw":
            return d
        if self.transform == "softmax":
            return segment_softmax(d, segment, n_bags)
        if self.transform == "standardize":
            t = ((d - self.distance_center) / self.distance_scale).clamp(*STANDARD_RANGE)
            return t / lengths[segment].to(d)
        low = segment_extreme(d, segment, n_bags, "amin")[segment]
        span = segment_extreme(d, segment, n_bags, "amax")[segment] - low
        return torch.where(span > 0, (d - low) / span.clamp_min(1e-12), torch.zeros_like(d))
