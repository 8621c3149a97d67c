"""Attention, pooling and classifiers on the embeddings of cells."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.batch import segment_extreme, segment_of, segment_softmax, segment_sum


class Attention(nn.Module):
    """Attention of Ilse et al. 2018: ``a_n = softmax_n(w^T tanh(V z_n))``, or gated (eq. 9).

    The gated form multiplies the tanh branch by ``sigmoid(U z_n)``. ``a_n`` is relative: it says
    what matters within this bag, and is not an anomaly score.

    Parameters
    ----------
    latent_dim
        Length k of an embedding.
    hidden_dim
        Width of the hidden layer.
    gated
        Use the gate.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, *, gated: bool) -> None:
        super().__init__()
        self.v = nn.Linear(latent_dim, hidden_dim)
        self.u = nn.Linear(latent_dim, hidden_dim) if gated else None
        self.w = nn.Linear(hidden_dim, 1)

    def forward(self, z: Tensor, segment: Tensor, n_bags: int) -> Tensor:
        """Return ``a_n (n_cells,)`` of embeddings ``z (n_cells, k)``."""
        hidden = torch.tanh(self.v(z))  # (n_cells, hidden)
        if self.u is not None:
            hidden = hidden * torch.sigmoid(self.u(z))
        return segment_softmax(self.w(hidden)[:, 0], segment, n_bags)  # a_n (n_cells,)


Pooling = Literal["attention", "anomaly", "both", "mean"]
Transform = Literal["softmax", "raw", "standardize", "minmax"]

STANDARD_RANGE = (-3.0, 10.0)
"""Control deviations beyond which a distance counts no more: one odd speck must not outvote a bag."""


class ScorePooling(nn.Module):
    """A 1x1 convolution of the scores: ``p_n = w_A a_n + w_D T(d_n) + b`` (eq. 5).

    ``pooling="attention"`` is ABMIL, ``p_n = a_n``, and ``"mean"`` is ``p_n = 1 / N``, both without
    parameters. ``T`` is

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
        weighed = pooling not in ("attention", "mean")
        self.convolution = nn.Linear(n_channels, 1, bias=bias) if weighed else None
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
        if self.pooling == "mean":
            return 1.0 / lengths[segment_of(lengths)].to(a)
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


class LinearStack(nn.Module):
    """Linear layers without nonlinearity between, which are one linear map ``W x + b``."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))

    def collapsed(self) -> tuple[Tensor, Tensor]:
        """Return ``W (n_out, n_in)`` and ``b (n_out,)`` of the whole stack."""
        first, *others = (cast(nn.Linear, layer) for layer in self.layers)
        weight: Tensor = first.weight
        bias: Tensor = first.bias
        for layer in others:
            weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, n_out)``."""
        weight, bias = self.collapsed()
        return x @ weight.T + bias


@dataclass(frozen=True, eq=False)
class HeadOutput:
    """Output of one bag head."""

    attention: Tensor
    """``a_n (n_cells,)``"""
    pool_weight: Tensor
    """``p_n (n_cells,)``"""
    contribution: Tensor
    """``p_n W z_n (n_cells, n_classes)``"""
    bias: Tensor
    """``(n_classes,)``"""
    logits: Tensor
    """``(n_bags, n_classes)``"""


class BagHead(nn.Module):
    """Attention, pooling and linear classifier of a bag (Kazeminia et al. 2022, eqs. 4 and 5).

    ``z_B = sum_n p_n z_n`` and ``logits = W z_B + b``.
    """

    def __init__(self, settings: ModelSettings, n_classes: int) -> None:
        super().__init__()
        k = settings.embedding_dim
        self.attention = Attention(k, settings.attention_dim, gated=settings.gated_attention)
        self.pooling = ScorePooling(settings.pooling, settings.distance_transform, bias=settings.pool_bias)
        self.classifier = LinearStack(k, *settings.bag_head, n_classes)

    def forward(self, z: Tensor, lengths: Tensor, distances: Tensor | None) -> HeadOutput:
        """Return the output for embeddings ``z (n_cells, k)`` of bags of ``lengths (n_bags,)`` cells."""
        segment, n_bags = segment_of(lengths), len(lengths)
        a = self.attention(z, segment, n_bags)  # a_n (n_cells,)
        p = self.pooling(a, distances, lengths)  # p_n (n_cells,)
        weight, bias = self.classifier.collapsed()  # W (n_classes, k), b (n_classes,)
        contribution = (p[:, None] * z) @ weight.T  # p_n W z_n (n_cells, n_classes)
        logits = segment_sum(contribution, segment, n_bags) + bias  # (n_bags, n_classes)
        return HeadOutput(a, p, contribution, bias, logits)


class SicHead(nn.Module):
    """The single-instance classifier: one for every part of the embedding, so that each learns by itself.

    Parameters
    ----------
    columns
        Lengths of the parts.
    hidden
        Widths of linear layers between.
    n_classes
        Number of classes.
    """

    def __init__(self, columns: Sequence[int], hidden: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.stacks = nn.ModuleList(LinearStack(k, *hidden, n_classes) for k in self.columns)

    def forward(self, z: Tensor) -> Tensor:
        """Return the logits ``(n_cells, n_columns, n_classes)`` of embeddings ``z (n_cells, k)``."""
        parts = zip(self.stacks, z.split(self.columns, dim=1), strict=True)
        return torch.stack([stack(part) for stack, part in parts], dim=1)
