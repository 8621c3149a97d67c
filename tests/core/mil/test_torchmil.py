"""Attention pooling is that of torchmil, with the same weights and with its padding."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from napari_amil.core.mil.batch import segment_of, segment_sum
from napari_amil.core.mil.heads import Attention

torchmil = pytest.importorskip("torchmil.nn", reason="torchmil is not installed")

LENGTHS = torch.tensor([3, 1, 7])


@pytest.mark.parametrize("gated", [False, True])
def test_bag_vectors_and_attention_are_those_of_torchmil(gated: bool) -> None:
    ours, theirs = Attention(6, 5, gated=gated), torchmil.AttentionPool(6, 5, gated=gated)
    pairs = {"fc1": ours.v, "fc2": ours.w} | ({"fc_gated": ours.u} if gated else {})
    for name, layer in pairs.items():
        weights = getattr(theirs, name).state_dict()
        copied = [layer.state_dict()[key.split(".")[-1]] for key in weights]
        getattr(theirs, name).load_state_dict(dict(zip(weights, copied, strict=True)))
    z = torch.randn(int(LENGTHS.sum()), 6)
    bags = z.split(LENGTHS.tolist())
    mask = pad_sequence([torch.ones(len(bag)) for bag in bags], batch_first=True)
    pooled, logits = theirs(pad_sequence(bags, batch_first=True), mask, return_att=True)

    a = ours(z, segment_of(LENGTHS), len(bags))  # a_n (n_cells,)
    torch.testing.assert_close(segment_sum(a[:, None] * z, segment_of(LENGTHS), len(bags)), pooled)
    expected = [row[: len(bag)].softmax(0) for row, bag in zip(logits, bags, strict=True)]
    torch.testing.assert_close(a, torch.cat(expected))
