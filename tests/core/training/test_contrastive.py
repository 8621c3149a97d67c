"""Training on pairs of views: the loss has its closed form, and cells are told apart without labels."""

from __future__ import annotations

import math

import torch

from napari_amil.core.anomaly.reconstruction.network_training import TrainingFiles, train_network
from napari_amil.core.base.events import EpochReport
from napari_amil.core.training.contrastive import (
    NAME,
    ContrastiveSettings,
    ContrastiveTraining,
    cosines,
    feature_encoder,
    pair_loss,
    partners,
)

SMALL = ContrastiveSettings(width=4, batch_size=20, epochs=12, steps=24, projection_dim=8, learning_rate=3e-3)


def discs(n: int = 40, size: int = 32) -> torch.Tensor:
    """Return dark discs of different size and pallor on white, ``(n, 3, size, size)`` uint8."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, size),) * 2, indexing="ij")
    radius = torch.linspace(0.3, 0.9, n)[:, None, None]
    r = (x * x + y * y).sqrt()[None]
    pale = torch.arange(n)[:, None, None] % 2 * (r < radius / 2)
    grey = torch.where((r < radius) & (pale == 0), 90, 240)
    return grey[:, None].expand(-1, 3, -1, -1).to(torch.uint8).contiguous()


def test_the_loss_of_pairs_that_agree_and_differ_from_all_others() -> None:
    temperature = 0.5
    z = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 5.0]])  # two cells, first and second views
    similarity = cosines(z)
    assert partners(4, z.device).tolist() == [2, 3, 0, 1]
    assert similarity.diagonal().eq(-torch.inf).all()
    wanted = -math.log(math.exp(1 / temperature) / (math.exp(1 / temperature) + 2))
    torch.testing.assert_close(pair_loss(similarity / temperature), torch.tensor(wanted))
    torch.testing.assert_close(
        pair_loss(torch.zeros(6, 6).fill_diagonal_(-torch.inf)), torch.tensor(5.0).log()
    )


def test_it_learns_to_find_the_other_view_of_a_cell() -> None:
    training = ContrastiveTraining(SMALL, discs())
    said = list(train_network(NAME, training, training.crops, 0, TrainingFiles()))
    epochs = [event for event in said if isinstance(event, EpochReport)]
    assert len(epochs) == 12
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert epochs[-1].metrics["pretrain_agreement"] > 4 / 39  # chance is 1 of 39
    assert training.optimisers["net"].param_groups[0]["lr"] < 0.02 * SMALL.learning_rate


def test_features_do_not_depend_on_the_other_cells_and_both_scales_count() -> None:
    crops = discs(6)
    for scales, n_features in ((1, 32), (2, 48)):
        encoder = feature_encoder(SMALL.model_copy(update={"scales": scales})).eval()
        found = encoder(crops)
        assert found.shape == (6, n_features)
        torch.testing.assert_close(encoder(crops[2:3]), found[2:3], atol=1e-5, rtol=1e-4)
        ContrastiveTraining(SMALL.model_copy(update={"scales": scales}), crops).head(found)
