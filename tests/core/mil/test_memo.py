"""Embeddings are remembered by what they were made from, and by nothing else."""

from __future__ import annotations

import torch

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.memo import EmbeddingMemo
from napari_amil.core.mil.model import AmilModel, embed_all


def test_only_equal_inputs_are_recalled() -> None:
    memo, calls = EmbeddingMemo(), []

    def recall(weights: torch.Tensor, instances: torch.Tensor, n_views: int) -> torch.Tensor:
        def make() -> torch.Tensor:
            calls.append(1)
            return instances.double()

        return memo.recall((weights, instances), n_views, make)

    weights, instances = torch.ones(3), torch.arange(6.0).reshape(2, 3)
    first = recall(weights, instances, 1)
    assert recall(weights.clone(), instances.clone(), 1) is first
    assert len(calls) == 1
    recall(weights + 1, instances, 1)
    recall(weights, instances + 1, 1)
    recall(weights, instances.reshape(3, 2), 1)
    recall(weights, instances, 8)
    assert len(calls) == 5


def test_a_model_with_a_memo_embeds_as_without() -> None:
    settings = ModelSettings(latent_dim=4, width=4, attention_dim=4, measurement_columns=0)
    model = AmilModel(settings, 2)
    crops = torch.randint(0, 255, (3, 3, 64, 64), dtype=torch.uint8)
    plain = embed_all(model, crops, torch.device("cpu"))
    model.memo = EmbeddingMemo()
    for _ in range(2):
        torch.testing.assert_close(embed_all(model, crops, torch.device("cpu")), plain, rtol=0, atol=0)
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1.0)
    assert not torch.equal(embed_all(model, crops, torch.device("cpu")), plain)
