"""Attention and pooling are those of the papers."""

from __future__ import annotations

import pytest
import torch

from napari_amil.core.base.errors import AmilError
from napari_amil.core.mil.heads import STANDARD_RANGE, Attention, ScorePooling, Transform

LENGTHS = torch.tensor([3, 1])
A = torch.tensor([0.2, 0.3, 0.5, 1.0])
D = torch.tensor([1.0, 2.0, 5.0, 3.0])


def weights_of(pooling: ScorePooling) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    assert pooling.convolution is not None
    torch.nn.init.normal_(pooling.convolution.weight)
    torch.nn.init.constant_(pooling.convolution.bias, 0.7)
    w = pooling.convolution.weight[0].detach()
    return w[0], w[-1], pooling.convolution.bias.detach()


@pytest.mark.parametrize("gated", [True, False])
def test_attention_is_that_of_the_paper_within_each_bag(gated: bool) -> None:
    attention, z = Attention(6, 4, gated=gated), torch.randn(4, 6)
    a = attention(z, torch.tensor([0, 0, 0, 1]), 2)
    hidden = torch.tanh(z @ attention.v.weight.T + attention.v.bias)
    if attention.u is not None:
        hidden = hidden * torch.sigmoid(z @ attention.u.weight.T + attention.u.bias)
    e = (hidden @ attention.w.weight.T)[:, 0]
    torch.testing.assert_close(a, torch.cat((e[:3].softmax(0), torch.ones(1))))


def test_attention_alone_is_the_weight() -> None:
    pooling = ScorePooling("attention", "raw")
    assert torch.equal(pooling(A, None, LENGTHS), A)
    assert not list(pooling.parameters())


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("raw", D),
        ("softmax", torch.cat((D[:3].softmax(0), torch.ones(1)))),
        ("minmax", torch.tensor([0.0, 0.25, 1.0, 0.0])),
    ],
)
def test_published_transforms(transform: Transform, expected: torch.Tensor) -> None:
    pooling = ScorePooling("both", transform)
    w_a, w_d, b = weights_of(pooling)
    torch.testing.assert_close(pooling(A, D, LENGTHS), w_a * A + w_d * expected + b)


def test_the_paper_has_no_bias() -> None:
    pooling = ScorePooling("both", "raw", bias=False)
    assert pooling.convolution is not None
    w = pooling.convolution.weight[0].detach()
    torch.testing.assert_close(pooling(A, D, LENGTHS), w[0] * A + w[1] * D)
    assert sum(p.numel() for p in pooling.parameters()) == 2
    standard = ScorePooling("anomaly", "standardize", bias=False)
    torch.testing.assert_close(standard(A, D, LENGTHS), D / torch.tensor([3.0, 3.0, 3.0, 1.0]))


def test_standardising_uses_the_control_cells_and_not_the_bag() -> None:
    pooling = ScorePooling("both", "standardize")
    w_a, w_d, b = weights_of(pooling)
    pooling.set_control_distances(2.0, 0.5)
    t = torch.tensor([-2.0, 0.0, 6.0, 2.0])
    n = torch.tensor([3.0, 3.0, 3.0, 1.0])
    torch.testing.assert_close(pooling(A, D, LENGTHS), w_a * A + (w_d * t + b) / n)


def test_a_speck_does_not_outvote_its_bag() -> None:
    pooling = ScorePooling("anomaly", "standardize")
    p = pooling(A, torch.tensor([1e6, -1e6, 0.0, 0.0]), LENGTHS).detach()
    torch.testing.assert_close(p, torch.tensor([STANDARD_RANGE[1] / 3, STANDARD_RANGE[0] / 3, 0.0, 0.0]))


def test_missing_distances_are_named() -> None:
    with pytest.raises(AmilError, match="'anomaly' needs the distance"):
        ScorePooling("anomaly", "raw")(A, None, LENGTHS)
