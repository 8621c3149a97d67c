"""Domain constraints: losses by value, the defects of the reference, and what they do to a code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.channels import RECONSTRUCTIONS
from napari_amil.core.anomaly.reconstruction.maddr import (
    DomainConstraint,
    center_loss,
    domain_labels,
    focal_loss,
)
from napari_amil.core.anomaly.reconstruction.memae import MemaeNet, MemaeSettings, MemaeTraining
from napari_amil.core.anomaly.reconstruction.network_settings import NetworkSettings
from napari_amil.core.anomaly.reconstruction.network_training import Batch
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.events import EpochReport, Event, Warned, drain
from napari_amil.core.base.settings import ModelSettings

SETTINGS = NetworkSettings(domain_dim=3, domain_weight=1.0, center_weight=0.0)
LABELS = {"stain": np.array([0, 1, 1, -1]), "scanner": np.array([2, 0, 1, 1])}


def test_the_centre_loss_is_the_distance_to_the_mean_of_the_others() -> None:
    z = torch.randn(5, 7)
    wanted = sum(float((z[i] - z[[j for j in range(5) if j != i]].mean(0)).square().sum()) for i in range(5))
    assert float(center_loss(z)) == pytest.approx(wanted / (5 * 7), rel=1e-5)
    assert float(center_loss(torch.ones(4, 7) * torch.arange(7))) == 0  # equal codes; the reference has 3.96
    assert float(center_loss(z[:1])) == 0


def test_the_focal_loss_is_that_of_the_equation() -> None:
    logits, labels, alpha = torch.randn(4, 3), torch.tensor([0, 2, 1, 2]), torch.tensor([0.5, 1.0, 2.0])
    p = torch.softmax(logits, 1)[torch.arange(4), labels]
    wanted = (alpha[labels] * (1 - p) ** 2 * -p.log()).mean()
    torch.testing.assert_close(focal_loss(logits, labels, alpha, 2.0), wanted)


def test_each_factor_has_its_own_labels_part_and_head_and_missing_labels_do_not_count() -> None:
    domains = DomainConstraint(LABELS, SETTINGS, 10)
    assert [head.out_features for head in domains.heads] == [2, 3]
    torch.testing.assert_close(domains.get_buffer("alpha_stain"), torch.tensor([3 / 2, 3 / 4]))
    z = torch.randn(4, 10, requires_grad=True)
    loss = domains(z, torch.arange(4))
    loss.backward()
    assert z.grad is not None
    assert bool((z.grad[:3, :3] != 0).all())
    assert float(z.grad[3, :3].abs().sum()) == 0  # its stain is not known
    assert bool((z.grad[:, 3:6] != 0).all())
    assert float(z.grad[:, 6:].abs().sum()) == 0
    assert all(head.weight.grad is not None for head in domains.heads)
    np.testing.assert_array_equal(LABELS["scanner"], [2, 0, 1, 1])  # the reference writes one over the other
    parts = [
        focal_loss(
            domains.heads[0](z[:3, :3]), torch.tensor([0, 1, 1]), domains.get_buffer("alpha_stain"), 2
        ),
        focal_loss(
            domains.heads[1](z[:, 3:6]), torch.tensor([2, 0, 1, 1]), domains.get_buffer("alpha_scanner"), 2
        ),
    ]
    torch.testing.assert_close(loss, parts[0] + parts[1])


def test_mixed_cells_have_both_labels_and_a_map_counts_by_its_mean() -> None:
    domains = DomainConstraint(LABELS, SETTINGS, 10)
    z, rows, others = torch.randn(4, 10), torch.arange(4), torch.tensor([1, 0, 3, 2])
    mixed = domains(z, rows, (others, 0.3))
    torch.testing.assert_close(mixed, 0.3 * domains(z, rows) + 0.7 * domains(z, others))
    wide = z[:, :, None, None] + torch.tensor([[-1.0, 1.0], [2.0, -2.0]])
    torch.testing.assert_close(domains(wide, rows), domains(z, rows))


def test_a_factor_of_one_level_is_dropped_and_an_unknown_one_refused() -> None:
    said = list[Event]()
    known = {"stain": np.array(["a", "", "b", "a"]), "site": np.array(["x"] * 4)}
    found = drain(domain_labels(known, ("stain", "site")), said.append)
    np.testing.assert_array_equal(found["stain"], [0, -1, 1, 0])
    assert list(found) == ["stain"]
    assert [event.message for event in said if isinstance(event, Warned)] == [
        "All control cells have the same 'site', so it is no domain to tell apart."
    ]
    with pytest.raises(SettingsError, match=r"does not tell the domain 'scanner' .* it tells: site, stain\."):
        drain(domain_labels(known, ("scanner",)))
    with pytest.raises(SettingsError, match="2 domains take 6 numbers of a code of 6"):
        DomainConstraint(LABELS, SETTINGS, 6)


def test_heads_learn_to_tell_the_domain() -> None:
    torch.manual_seed(0)
    settings = MemaeSettings(
        size_px=16, widths=(4, 8), slots=9, domain_dim=3, domain_weight=1.0, learning_rate=1e-2
    )
    training = MemaeTraining(MemaeNet(settings), settings).train()
    labels = np.arange(32) % 2
    x = torch.where(torch.from_numpy(labels)[:, None, None, None] == 0, 0.3, 0.7) + 0.02 * torch.randn(
        32, 3, 16, 16
    )
    training.constrain({"stain": labels}, x[:2])
    weights = training.domains.heads[0].weight.detach().clone()  # type: ignore[union-attr,index,operator]
    from_batch = training_batch(x)
    for number in range(30):
        training.train()
        training.step(from_batch, number)
    assert training.domains is not None
    head = training.domains.heads[0]
    assert not torch.equal(head.weight, weights)
    code = training.latent(x).flatten(2).mean(dim=2)[:, :3]
    assert float((head(code).argmax(1).numpy() == labels).mean()) > 0.95


def training_batch(x: torch.Tensor) -> Batch:
    return Batch(x, torch.arange(len(x)), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_every_network_can_be_constrained_and_scores_as_it_did(
    name: str, control_cells: Callable[..., CellInputs]
) -> None:
    cells = control_cells(32)
    domains = {"stain": np.array(["a", "b"])[np.arange(32) % 2]}
    small: dict[str, Any] = {
        "size_px": 16,
        "widths": [8, 16],
        "latent_dim": 16,
        "batch_size": 16,
        "epochs": 2,
    }
    small |= {"widths": [8, 8, 16]} if name == "dpa" else {}
    small |= {"steps": 4, "gan_share": 0.3} if name == "fanogan" else {}
    small |= {"domains": ["stain"], "domain_dim": 4, "mixup": True}
    scorer, said = RECONSTRUCTIONS[name](ModelSettings(networks={name: small})), list[Event]()
    drain(scorer.fit(replace(cells, domains=domains), 0, torch.device("cpu")), said.append)
    reports = [event for event in said if isinstance(event, EpochReport)]
    assert reports[-1].metrics[f"{name}_domains"] > 0
    assert not [key for key in scorer.state_dict() if "head" in key]
    assert np.isfinite(scorer.score(cells)).all()
