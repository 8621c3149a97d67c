"""What sits on the embeddings: attention, pooling and classifier of a bag; the single-instance classifier."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.attention import Attention
from napari_amil.core.mil.batch import segment_of, segment_sum
from napari_amil.core.mil.pooling import ScorePooling


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
    """What one bag head says."""

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
