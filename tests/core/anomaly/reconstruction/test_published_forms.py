"""Each published network has the published layers, and its losses are those of the equations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import nn

from napari_amil.core.anomaly.channels import RECONSTRUCTIONS
from napari_amil.core.anomaly.reconstruction.dpa import Dpa, DpaNet, DpaSettings, DpaTraining
from napari_amil.core.anomaly.reconstruction.fanogan import (
    Fanogan,
    FanoganNet,
    FanoganSettings,
    FanoganTraining,
    izi_difference,
)
from napari_amil.core.anomaly.reconstruction.ganomaly import (
    Ganomaly,
    GanomalyNet,
    GanomalySettings,
    GanomalyTraining,
)
from napari_amil.core.anomaly.reconstruction.memae import (
    Memae,
    MemaeNet,
    MemaeSettings,
    MemaeTraining,
    entropy,
    sparse,
)
from napari_amil.core.anomaly.reconstruction.network_training import Batch
from napari_amil.core.anomaly.reconstruction.scorer import ReconstructionScorer
from napari_amil.core.base.settings import ModelSettings

SMALL = {"size_px": 16, "widths": (4, 8), "latent_dim": 5}


def n_weights(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize("kind", [Memae, Ganomaly, Fanogan])
def test_published_inputs_become_four_by_four(kind: type[ReconstructionScorer]) -> None:
    code = kind.presets["code"]
    assert code.size_px == 64
    assert len(code.widths) == 4
    assert (code.outside, code.region, code.turn_deg) == ("keep", "crop", 0)


def test_every_network_has_a_cell_and_a_published_form() -> None:
    assert list(RECONSTRUCTIONS) == ["ra", "dpa", "memae", "ganomaly", "fanogan"]
    assert all(list(kind.presets) == ["cell", "code"] for kind in RECONSTRUCTIONS.values())


def test_ganomaly_has_the_published_size() -> None:
    settings = Ganomaly.presets["code"]
    training = GanomalyTraining(GanomalyNet(settings), settings)
    assert n_weights(training.net) == pytest.approx(10.7e6, rel=0.02)
    assert n_weights(training.critic) == pytest.approx(2.8e6, rel=0.02)
    assert training.critic[:-1](torch.zeros(1, 3, 64, 64)).shape == (1, 512, 4, 4)
    assert training.latent(torch.zeros(2, 3, 64, 64)).shape == (2, 100, 1, 1)
    first = [m for m in training.net.first if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    assert [type(m).__name__ for m in first] == ["Conv2d", *["Conv2d", "BatchNorm2d"] * 3, "Conv2d"]


def test_losses_of_ganomaly_are_those_of_the_equations(batch: Callable[..., Batch]) -> None:
    settings = GanomalySettings(**SMALL, encoder_weight=2.0)
    training = GanomalyTraining(GanomalyNet(settings), settings).eval()
    x = 2 * batch(3, 3, 16).x - 1
    z = training.net.first(x)
    twin = training.net.draw(z)
    f = [training.critic[:-1](values) for values in (x, twin)]
    gap = z - training.net.second(twin)
    wanted = ((f[0] - f[1]) ** 2).mean() + 50 * (x - twin).abs().mean() + 2 * (gap**2).mean()
    torch.testing.assert_close(training.generator_loss(x)[0], wanted)
    p = [torch.sigmoid(training.critic(values)).flatten() for values in (x, twin)]
    torch.testing.assert_close(
        training.critic_loss(x, twin), -(p[0].log().mean() + (1 - p[1]).log().mean()) / 2
    )


def test_a_discriminator_that_has_won_begins_anew(batch: Callable[..., Batch]) -> None:
    settings = GanomalySettings(**SMALL)
    training = GanomalyTraining(GanomalyNet(settings), settings)
    training.step(batch(4, 3, 16), 0)
    training.critic_loss = lambda x, twin: 0.0 * training.critic(x).sum().abs()  # type: ignore[method-assign]
    before = training.critic[0].weight.detach().clone()
    training.step(batch(4, 3, 16), 1)
    changed = (training.critic[0].weight.detach() - before).abs()
    assert float(changed.mean()) > 0.005


def test_memae_shrinks_weights_and_keeps_rows_that_would_be_empty() -> None:
    w = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25]])
    found = sparse(w, 0.26)
    torch.testing.assert_close(found[0], torch.tensor([0.5 / 0.8, 0.3 / 0.8, 0, 0]))
    torch.testing.assert_close(found[1], w[1])
    assert float(entropy(w[1:])) == pytest.approx(np.log(4), rel=1e-6)
    settings = MemaeSettings(**SMALL, slots=7)
    net = MemaeNet(settings)
    z = torch.randn(2, 8, 4, 4)
    weights = net.address(z, shrunk=False)
    wanted = torch.softmax(torch.einsum("nchw,sc->nhws", z, net.memory), dim=-1)
    torch.testing.assert_close(weights, wanted)
    torch.testing.assert_close(net.recall(weights), torch.einsum("nhws,sc->nchw", wanted, net.memory))
    assert float(net.memory.detach().abs().max()) <= 8**-0.5


def test_addressing_by_cosine_without_a_temperature_leaves_nothing_to_shrink() -> None:
    torch.manual_seed(0)
    for temperature, most in ((1.0, 1.6), (0.05, 1e3)):
        net = MemaeNet(
            MemaeSettings(
                size_px=16, widths=(4, 256), slots=500, similarity="cosine", temperature=temperature
            )
        )
        largest = net.address(torch.randn(1, 256, 4, 4), shrunk=False).detach().amax() * 500
        assert (float(largest) < 2) == (temperature == 1.0), most
    torch.manual_seed(0)
    net = MemaeNet(MemaeSettings(size_px=16, widths=(4, 256), slots=500))
    kept = (net.address(torch.randn(4, 256, 4, 4), shrunk=True) > 0).sum(dim=-1)
    assert 100 < float(kept.float().mean()) < 300  # of 500 with a limit of 1 / 500


def test_the_loss_of_memae_is_that_of_the_equation(batch: Callable[..., Batch]) -> None:
    settings = MemaeSettings(**SMALL, slots=7, warm_up=3)
    training = MemaeTraining(MemaeNet(settings), settings).eval()
    one = batch(3, 3, 16)
    w = training.net.address(training.latent(one.x), shrunk=False)
    error = ((training.net.up(training.net.recall(w)) - 2 * one.x + 1) ** 2).mean()
    found = training.step(one, 0)
    torch.testing.assert_close(found["loss"], error.detach())
    torch.testing.assert_close(found["entropy"], entropy(w).detach())


def test_dpa_has_the_published_layers_and_its_loss_is_its_score(batch: Callable[..., Batch]) -> None:
    code = Dpa.presets["code"]
    net = DpaNet(code)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert net.down(torch.zeros(2, 1, 64, 64)).shape == (2, 128, 1, 1)
    assert net.up(torch.zeros(2, 128, 1, 1)).shape == (2, 1, 64, 64)
    assert (code.steps, code.batch_size, code.learning_rate, code.decay_every) == (16_000, 32, 1e-3, 10_000)
    score = Dpa(ModelSettings(networks={"dpa": SMALL | {"widths": [4, 4, 8]}}))
    x = batch(3, 3, 16).x
    twin = (score.net.up(score.net.down(2 * x - 1)) + 1) / 2
    parts = [
        (f - g).abs().sum(dim=(1, 2, 3)) / f.abs().sum(dim=(1, 2, 3))
        for f, g in zip(score.perceptual(x), score.perceptual(twin), strict=True)
    ]
    wanted = torch.stack(parts).mean(dim=0) + 0.1 * (2 * x - 2 * twin).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(score.difference(x, twin), wanted)
    settings = DpaSettings(**SMALL | {"widths": (4, 4, 8)})
    training = DpaTraining(score.net, settings, score)
    found = training.step(Batch(x, torch.arange(3), torch.Generator()), 20_000)
    torch.testing.assert_close(found["loss"], wanted.mean().detach())
    assert training.optimisers["net"].param_groups[0]["lr"] == pytest.approx(1e-3 * 0.8**2)


def test_fanogan_has_the_published_layers() -> None:
    code = Fanogan.presets["code"]
    net = FanoganNet(code)
    assert net.features(torch.zeros(1, 1, 64, 64)).shape == (1, 8192)
    assert net.decode(torch.zeros(1, 128)).shape == (1, 1, 64, 64)
    norms = [m for m in net.features.modules() if isinstance(m, nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels) for m in norms[::2]] == [
        (1, a) for a, _ in pairwise((64, 128, 256, 512, 512))
    ]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.features.modules())
    batch_norms = [m for m in net.draw.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in batch_norms} == {(1e-3, 0.01)}
    assert float(net.encode(100 * torch.ones(1, 1, 64, 64)).detach().abs().max()) <= 1


def test_losses_of_fanogan_are_those_of_the_equations(batch: Callable[..., Batch]) -> None:
    settings = FanoganSettings(**SMALL, feature_weight=0.5)
    training = FanoganTraining(FanoganNet(settings), settings).eval()
    net, x = training.net, 2 * batch(3, 3, 16).x - 1
    fake, mix = net.decode(torch.randn(3, 5)).detach(), torch.rand(3, 1, 1, 1)
    between = (mix * x + (1 - mix) * fake).requires_grad_()
    norms = []
    for i in range(3):
        value = net.critic(net.features(between[i : i + 1])).sum()
        norms.append(torch.autograd.grad(value, between)[0][i].norm())
    score = [net.critic(net.features(values)).mean() for values in (x, fake)]
    wanted = score[1] - score[0] + 10 * ((torch.stack(norms) - 1) ** 2).mean()
    torch.testing.assert_close(training.critic_loss(x, fake, mix), wanted, rtol=1e-4, atol=1e-5)
    twin = net.decode(net.encode(x))
    f = [net.features(values) for values in (x, twin)]
    izi = F.mse_loss(x[0], twin[0]) + 0.5 * F.mse_loss(f[0][0], f[1][0])
    torch.testing.assert_close(izi_difference(net, x, twin)[0], izi)


def test_the_encoder_of_fanogan_learns_last_and_alone(batch: Callable[..., Batch]) -> None:
    settings = FanoganSettings(**SMALL, steps=10, gan_share=0.5, critic_steps=2, encoder_rate=1e-2)
    training = FanoganTraining(FanoganNet(settings), settings).train()
    parts = {"generator": training.generator, "critic": training.judge, "encoder": training.net.code}

    def moved(number: int) -> set[str]:
        before = {name: [p.clone() for p in part.parameters()] for name, part in parts.items()}
        training.step(batch(4, 3, 16), number)
        return {
            name
            for name, part in parts.items()
            if any(not torch.equal(p, q) for p, q in zip(part.parameters(), before[name], strict=True))
        }

    assert moved(0) == {"generator", "critic"}
    assert moved(1) == {"critic"}
    statistics = training.generator[1][0].norms[0].running_mean.clone()
    assert moved(5) == {"encoder"}
    assert torch.equal(training.generator[1][0].norms[0].running_mean, statistics)
