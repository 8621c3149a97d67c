"""The model is exact about contributions, blind to the order of cells, and embeds equal cells once."""

from __future__ import annotations

import pytest
import torch

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.batch import RaggedBatch, segment_sum
from napari_amil.core.mil.heads import LinearStack
from napari_amil.core.mil.instances import Instances
from napari_amil.core.mil.loss import amil_loss
from napari_amil.core.mil.model import AmilModel, EmbeddingMemo, embed_all

LENGTHS = torch.tensor([3, 1, 4])
SETTINGS = ModelSettings(
    latent_dim=10, measurement_columns=0, width=8, attention_dim=6, bag_head=(7,), sic_head=(5,)
)


@pytest.fixture
def model() -> AmilModel:
    return AmilModel(SETTINGS, n_classes=4).eval()


@pytest.fixture
def batch() -> RaggedBatch:
    return RaggedBatch(torch.rand(8, 3, 64, 64), LENGTHS)


@pytest.fixture
def distances() -> torch.Tensor:
    return torch.rand(8) * 5


@pytest.mark.parametrize("transform", ["softmax", "raw", "standardize", "minmax"])
def test_order_within_a_bag_changes_no_logit_and_moves_the_scores(
    transform: str, batch: RaggedBatch, distances: torch.Tensor
) -> None:
    model = AmilModel(SETTINGS.model_copy(update={"distance_transform": transform}), 4).eval()
    order = torch.tensor([2, 0, 1, 3, 7, 5, 4, 6])
    before = model(batch, distances)
    after = model(RaggedBatch(batch.instances[order], LENGTHS), distances[order])
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-5)
    for name in ("attention", "pool_weight", "contribution", "sic_logits"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name)[order], rtol=1e-4, atol=1e-5)


def test_a_bag_does_not_feel_the_others(
    model: AmilModel, batch: RaggedBatch, distances: torch.Tensor
) -> None:
    together = model(batch, distances)
    start = 0
    for number, length in enumerate(LENGTHS.tolist()):
        rows = slice(start, start + length)
        alone = model(RaggedBatch(batch.instances[rows], torch.tensor([length])), distances[rows])
        torch.testing.assert_close(alone.logits[0], together.logits[number], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.attention, together.attention[rows], rtol=1e-4, atol=1e-5)
        start += length


def test_contributions_and_bias_add_up_to_the_logits(
    model: AmilModel, batch: RaggedBatch, distances: torch.Tensor
) -> None:
    output = model(batch, distances)
    total = segment_sum(output.contribution, batch.segment, 3) + output.bias
    torch.testing.assert_close(output.logits, total, rtol=0, atol=1e-6)
    z = model.embed(batch.instances)
    for head in model.heads:
        said = head(z, batch.lengths, distances)
        pooled = segment_sum(said.pool_weight[:, None] * z, batch.segment, 3)
        torch.testing.assert_close(said.logits, head.classifier(pooled), rtol=1e-4, atol=1e-5)


def test_stacked_layers_are_one_linear_map() -> None:
    stack = LinearStack(10, 7, 5)
    x = torch.randn(6, 10)
    y = x
    for layer in stack.layers:
        y = layer(y)
    torch.testing.assert_close(stack(x), y)


def test_measurements_are_a_part_of_the_embedding_that_knows_no_orientation() -> None:
    settings = ModelSettings(latent_dim=4, measurement_columns=2, width=8)
    model = AmilModel(settings, 3, n_measurements=5).eval()
    assert settings.columns == (4, 8, 8)
    cells = Instances(torch.rand(6, 3, 32, 32), torch.randn(6, 5))
    z = embed_all(model, cells, torch.device("cpu"))
    assert z.shape == (6, 8, 20)
    torch.testing.assert_close(z[:, 0, 4:], z[:, 5, 4:], rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(z[:, 0], model.embed(cells))
    with pytest.raises(AmilError, match="needs the measurements of every cell"):
        model.embed(cells.pixels)


def test_measurements_in_the_gaussian_are_not_seen_by_the_pooling() -> None:
    settings = ModelSettings(latent_dim=4, measurement_columns=1, width=8, attention_dim=4)
    named = settings.model_copy(update={"measurements_in_gaussian": True})
    model = AmilModel(named, 3, n_measurements=5).eval()
    assert (model.embedding_dim, named.embedding_dim) == (17, 12)
    z = embed_all(model, Instances(torch.rand(6, 3, 32, 32), torch.randn(6, 5)), torch.device("cpu"))
    assert z.shape == (6, 8, 17)
    d, lengths = torch.rand(6), torch.tensor([2, 4])
    said = model.aggregate(z.mean(dim=1), lengths, d)
    plain = AmilModel(settings, 3, n_measurements=5).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    same = plain.aggregate(z.mean(dim=1)[:, :12], lengths, d)
    torch.testing.assert_close(said.logits, same.logits, rtol=0, atol=0)
    torch.testing.assert_close(said.sic_logits, same.sic_logits, rtol=0, atol=0)
    assert said.latent.shape == (6, 17)
    with pytest.raises(AmilError, match="measure the cells first"):
        AmilModel(named.model_copy(update={"measurement_columns": 0}), 3)


def test_attention_sums_to_one_and_a_single_cell_has_all(
    model: AmilModel, batch: RaggedBatch, distances: torch.Tensor
) -> None:
    a = model(batch, distances).attention
    torch.testing.assert_close(segment_sum(a, batch.segment, 3), torch.ones(3))
    assert a[3] == 1.0


def test_empty_bags_and_missing_distances_are_refused(model: AmilModel) -> None:
    with pytest.raises(AmilError, match="without cells"):
        model.aggregate(torch.zeros(2, 10), torch.tensor([2, 0]))
    with pytest.raises(AmilError, match="needs the distance"):
        model.aggregate(torch.zeros(2, 10), torch.tensor([2]))


def test_embedding_all_leaves_the_mode_and_follows_the_rows(model: AmilModel, batch: RaggedBatch) -> None:
    model.train()
    z = embed_all(model, batch.instances, torch.device("cpu"), batch_size=3)
    assert model.training
    assert z.shape == (len(batch.instances), 8, 10)
    plain = model.eval().embed(batch.instances).detach()
    torch.testing.assert_close(z[:, 0], plain, rtol=1e-4, atol=1e-5)
    assert embed_all(model, batch.instances[:0], torch.device("cpu")).shape == (0, 8, 10)


def test_a_turned_or_mirrored_cell_has_the_same_mean_embedding(model: AmilModel, batch: RaggedBatch) -> None:
    turned = torch.rot90(batch.instances, 1, (2, 3)).flip(2)
    z, same = (embed_all(model, x, torch.device("cpu")).mean(dim=1) for x in (batch.instances, turned))
    torch.testing.assert_close(z, same, rtol=1e-4, atol=1e-5)


def test_one_bag_can_be_learned_by_heart() -> None:
    model = AmilModel(ModelSettings(latent_dim=8, measurement_columns=0, width=8, pooling="attention"), 3)
    batch = RaggedBatch(torch.rand(5, 3, 64, 64), torch.tensor([5]), torch.tensor([2]))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(25):
        output = model(batch)
        loss = amil_loss(output, torch.tensor([2]), batch.lengths, beta=0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05
    assert int(output.logits.argmax()) == 2


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
