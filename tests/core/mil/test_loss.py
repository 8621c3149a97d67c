"""Bag loss and single-instance loss are mixed as published."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.loss import (
    amil_loss,
    bag_loss,
    class_loss,
    control_share,
    hypersphere_loss,
    sic_loss,
    sic_weight,
)
from napari_amil.core.mil.model import AmilModel, AmilOutput

LENGTHS, LABELS = torch.tensor([2, 3]), torch.tensor([1, 0])


@pytest.fixture
def output() -> AmilOutput:
    settings = ModelSettings(latent_dim=6, measurement_columns=0, width=8, bag_heads=1)
    model = AmilModel(settings, n_classes=3)
    return model.aggregate(torch.randn(5, 20), LENGTHS, torch.rand(5))


def test_the_weight_of_single_instances_decays() -> None:
    assert [sic_weight(epoch) for epoch in (0, 1, 10)] == pytest.approx([1.0, 0.95, 0.5987369392])
    assert [sic_weight(epoch) for epoch in (50, 100)] == pytest.approx([0.077, 0.006], abs=1e-3)
    assert [sic_weight(epoch, 0.5) for epoch in (0, 1, 3)] == [1.0, 0.5, 0.125]


def test_the_loss_is_a_mixture_of_bag_and_cell_losses(output: AmilOutput) -> None:
    assert output.sic_logits is not None
    mil = F.cross_entropy(output.logits, LABELS)
    sic = F.cross_entropy(output.sic_logits[:, 0], torch.tensor([1, 1, 0, 0, 0]))
    torch.testing.assert_close(amil_loss(output, LABELS, LENGTHS, 0.3), 0.7 * mil + 0.3 * sic)


def test_every_head_and_every_column_has_a_loss_of_its_own() -> None:
    settings = ModelSettings(latent_dim=4, measurement_columns=2, width=8, bag_heads=3)
    output = AmilModel(settings, 3, n_measurements=5).aggregate(torch.randn(5, 20), LENGTHS, torch.rand(5))
    torch.testing.assert_close(output.logits, output.head_logits.mean(dim=0))
    each = torch.stack([F.cross_entropy(logits, LABELS) for logits in output.head_logits])
    torch.testing.assert_close(bag_loss(output, LABELS), each.mean())
    assert output.sic_logits is not None
    assert output.sic_logits.shape == (5, 3, 3)
    targets = torch.tensor([1, 1, 0, 0, 0])
    each = torch.stack([F.cross_entropy(logits, targets) for logits in output.sic_logits.unbind(1)])
    torch.testing.assert_close(sic_loss(output.sic_logits, targets), each.mean())


def test_the_hypersphere_loss_of_columns_is_their_mean() -> None:
    z, control = torch.randn(7, 5), torch.tensor([1.0, 0, 1, 0, 0, 1, 0])
    parts = hypersphere_loss(z[:, :3], control, 0.6), hypersphere_loss(z[:, 3:], control, 0.6)
    torch.testing.assert_close(hypersphere_loss(z, control, 0.6, (3, 2)), (parts[0] + parts[1]) / 2)


def test_without_single_instances_the_bag_loss_has_full_weight(output: AmilOutput) -> None:
    bare = dataclasses.replace(output, sic_logits=None)
    torch.testing.assert_close(amil_loss(bare, LABELS, LENGTHS, 0.9), F.cross_entropy(output.logits, LABELS))


def test_hard_targets_are_a_special_case_of_soft_ones(output: AmilOutput) -> None:
    assert output.sic_logits is not None
    targets = torch.tensor([1, 1, 0, 2, 0])
    soft = class_loss(output.sic_logits[:, 0], F.one_hot(targets, 3).float())
    torch.testing.assert_close(soft, F.cross_entropy(output.sic_logits[:, 0], targets))
    shares = torch.tensor([[0.5, 0.25, 0.25]])
    expected = -(shares * output.logits[:1].log_softmax(1)).sum()
    torch.testing.assert_close(class_loss(output.logits[:1], shares), expected)


def test_the_loss_of_attmil_is_binary_and_on_probabilities(output: AmilOutput) -> None:
    p = output.logits.softmax(dim=1)
    right, wrong = p[[0, 1], LABELS].log(), (1 - p).log()
    wrong[[0, 1], LABELS] = 0.0
    expected = -(right.sum() + wrong.sum()) / p.numel()
    torch.testing.assert_close(class_loss(output.logits, LABELS, "bce_softmax"), expected)
    assert output.sic_logits is not None
    sic = class_loss(output.sic_logits[:, 0], torch.tensor([1, 1, 0, 0, 0]), "bce_softmax")
    mixed = amil_loss(output, LABELS, LENGTHS, 0.3, "bce_softmax")
    torch.testing.assert_close(mixed, 0.7 * expected + 0.3 * sic)


def test_the_binary_loss_stays_finite_and_in_full_precision() -> None:
    sure = torch.tensor([[200.0, -200.0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert class_loss(sure, torch.tensor([1]), "bce_softmax") == 100.0
    assert class_loss(sure, torch.tensor([0]), "bce_softmax") == 0.0


def test_normal_cells_come_from_control_bags_as_often_as_they_are_drawn_there() -> None:
    assert control_share(torch.tensor([0.2, 0.4, 0.4]), 0) == pytest.approx(0.2 / (0.2 + 0.6))
    assert control_share(torch.tensor([1.0, 0.0]), 0) == 1.0


def test_the_hypersphere_loss_is_a_cross_entropy() -> None:
    z = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    p = 0.25 * torch.exp(1 - torch.sqrt(torch.tensor([1.0, 26.0])))
    expected = F.binary_cross_entropy(p, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(hypersphere_loss(z, torch.tensor([1.0, 0.0]), 0.25), expected)


def test_the_hypersphere_pulls_cells_that_are_as_often_control_as_normal_cells_are() -> None:
    z = torch.tensor([[1.0, 1.0], [1.0, 1.0]], requires_grad=True)
    hypersphere_loss(z, torch.tensor([0.25, 0.0]), 0.25).backward()
    assert z.grad is not None
    assert (z.grad[0] > 0).all()  # downhill is towards the origin
    assert (z.grad[1] < 0).all()  # downhill is away from it
