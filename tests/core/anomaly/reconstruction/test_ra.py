"""The reversed autoencoder: losses against the equations, layers, score, and the defects of the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.network_training import Batch
from napari_amil.core.anomaly.reconstruction.ra import (
    Ra,
    RaNet,
    RaSettings,
    RaTraining,
    blurred,
    equalised,
)
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import ModelSettings

SMALL = RaSettings(size_px=16, widths=(4, 8), latent_dim=3, learning_rate=1e-3)
TINY: dict[str, Any] = {"size_px": 16, "widths": [4, 8], "latent_dim": 3, "batch_size": 16}


def n_weights(**changes: Any) -> int:
    settings = Ra.presets["code"].model_copy(update=changes)
    with torch.device("meta"):
        return sum(weight.numel() for weight in RaNet(settings).parameters())


def test_the_published_network_has_the_published_size() -> None:
    assert n_weights(shortcut_always=False) == pytest.approx(29.4e6, rel=2e-3)
    assert n_weights() - n_weights(shortcut_always=False) == 2 * 512 * 512
    small = {"size_px": 64, "widths": (64, 128, 256, 512), "shortcut_always": False}
    assert n_weights(**small) == pytest.approx(20.0e6, rel=0.01)
    code = Ra.presets["code"]
    assert (code.size_px, code.channels, code.latent_dim, code.batch_size) == (128, 1, 128, 8)
    assert (code.negative_weight, code.embedding_weight, code.learning_rate) == (128, 0.005, 5e-5)


def test_features_are_taken_after_every_pooling() -> None:
    net = RaNet(SMALL.model_copy(update={"size_px": 32, "widths": (4, 6, 8)}))
    _, _, features = net.encode(torch.rand(2, 3, 32, 32))
    assert [tuple(f.shape[1:]) for f in features] == [(4, 16, 16), (6, 8, 8), (8, 4, 4)]
    assert net.decode(torch.zeros(2, 3)).shape == (2, 3, 32, 32)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [m for m in convolutions if m.bias is not None] == [net.draw[1]]


def by_hand(net: RaNet, s: float, x: Tensor, noise: Tensor, draw: Callable[..., Tensor]) -> tuple[Any, ...]:
    """Return L_E and L_D by sums over single pictures."""

    def sample(mu: Tensor, logvar: Tensor) -> Tensor:
        return mu + torch.exp(logvar / 2) * draw(*mu.shape)

    def divergence(mu: Tensor, logvar: Tensor) -> Tensor:
        return torch.stack(
            [
                sum((0.5 * (v.exp() + m * m - 1 - v) for m, v in zip(row, col, strict=True)), torch.zeros(()))
                for row, col in zip(mu, logvar, strict=True)
            ]
        )

    def error(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([((p - q) ** 2).sum() for p, q in zip(a, b, strict=True)])

    mu, logvar, features = net.encode(x)
    redrawn, made_up = net.decode(sample(mu, logvar)), net.decode(noise)
    encoder = s * (0.5 * error(x, redrawn).mean() + divergence(mu, logvar).mean())
    for y in (redrawn, made_up):
        m, v, own = net.encode(y)
        again = net.decode(sample(m, v))
        encoder = encoder + (-2 * s * (0.5 * error(y, again) + 128 * divergence(m, v))).exp().mean() / 4
        if y is redrawn:
            for f, g in zip(features, own, strict=True):
                cosine = [a.flatten() @ b.flatten() / a.norm() / b.norm() for a, b in zip(f, g, strict=True)]
                encoder = encoder + 0.005 * (((f - g) ** 2).mean() / 2 + 1 - torch.stack(cosine).mean())
    mu, logvar, _ = net.encode(x)
    redrawn = net.decode(sample(mu, logvar))
    decoder = 0.5 * error(x, redrawn).mean()
    for y in (redrawn, net.decode(noise)):
        m, v, _ = net.encode(y)
        again = error(y, net.decode(sample(m, v))).mean()
        decoder = decoder + divergence(m, v).mean() / 2 + 0.3 * 0.5 / 2 * again
    return encoder, s * decoder


def test_losses_are_those_of_the_equations(draws: Any, batch: Callable[..., Batch]) -> None:
    torch.manual_seed(0)
    settings = SMALL.model_copy(update={"gamma": 0.3})
    net = RaNet(settings).eval()
    training, x = RaTraining(net, settings), batch(3, 3, 16).x
    noise = torch.randn(3, 3)
    draw = draws(1)
    found = training.encoder_loss(x, noise, draw)[0], training.decoder_loss(x, noise, draw)
    wanted = by_hand(net, 1 / (3 * 16 * 16), x, noise, draws(1))
    torch.testing.assert_close(torch.stack(found), torch.stack(wanted), rtol=1e-5, atol=1e-6)


def test_each_step_changes_encoder_and_decoder_by_their_own_loss(batch: Callable[..., Batch]) -> None:
    torch.manual_seed(0)
    net = RaNet(SMALL).train()
    training, one = RaTraining(net, SMALL), batch(4, 3, 16)
    before = [p.detach().clone() for p in net.parameters()]
    loss, *_ = training.encoder_loss(one.x, one.normal(4, 3), one.normal)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.encoder.parameters())
    training.step(one, 0)
    moved = [not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True)]
    assert all(moved)


def test_it_may_begin_as_a_plain_autoencoder(batch: Callable[..., Batch]) -> None:
    torch.manual_seed(0)
    settings = SMALL.model_copy(update={"vae_share": 0.5, "steps": 4})
    net = RaNet(settings).eval()
    training, one = RaTraining(net, settings), batch(3, 3, 16)
    again = batch(3, 3, 16)
    mu, logvar, _ = net.encode(again.x)
    twin = net.decode(mu + (logvar / 2).exp() * again.normal(3, 3))
    divergence = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(1).mean()
    wanted = (0.5 * (again.x - twin).square().sum((1, 2, 3)).mean() + divergence) / (3 * 16 * 16)
    before = [p.detach().clone() for p in net.parameters()]
    found = training.step(one, 1)
    torch.testing.assert_close(found["loss"], wanted.detach())
    assert all(not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    assert "decoder" not in found
    assert "decoder" in training.step(one, 2)
    assert Ra.presets["code"].vae_share == 0  # as published


def test_normalisation_learns_in_training_mode_unless_the_published_defect_is_wanted(
    batch: Callable[..., Batch],
) -> None:
    means = {}
    for mode in ("train", "affine"):
        settings = SMALL.model_copy(update={"batch_norm": mode})
        net = RaNet(settings)
        training = RaTraining(net, settings).train()
        training.step(batch(4, 3, 16), 0)
        means[mode] = net.levels[0][1].running_mean.abs().sum()
    assert means["train"] > 0
    assert means["affine"] == 0


def trained(cells: CellInputs, **changes: Any) -> Ra:
    scorer = Ra(ModelSettings(networks={"ra": TINY | {"steps": 30} | changes}))
    drain(scorer.fit(cells, 0, torch.device("cpu")))
    return scorer


def test_the_score_is_the_mean_of_difference_times_saliency(control_cells: Callable[..., CellInputs]) -> None:
    cells = control_cells()
    scorer = trained(cells, outside="keep", region="crop")
    found = scorer.redraw(cells.take(np.arange(2)))
    x = torch.from_numpy(cells.pixels[:2, :3]).float() / 255  # type: ignore[index]
    x = x.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean(dim=(3, 5))
    twin = scorer.net.decode(scorer.net.encode(x)[0]).detach()
    r = (x - twin).abs().mean(dim=1)
    saliency = blurred(scorer.perceptual.distance_map(x, twin), 1.0)
    wanted = (r * saliency).mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(scorer.score(cells.take(np.arange(2))), wanted, rtol=1e-4)
    wide = torch.nn.functional.interpolate(r[:, None], size=(32, 32), mode="bilinear")[:, 0]
    np.testing.assert_allclose(found.heat, wide, atol=1e-5)
    assert found.twin.shape == (2, 32, 32, 3)


def test_a_blur_is_that_of_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    values = torch.rand(2, 16, 16)
    wanted = [ndimage.gaussian_filter(v.numpy(), 1.0, mode="nearest", radius=3) for v in values]
    np.testing.assert_allclose(blurred(values, 1.0), wanted, atol=1e-6)


def test_equalising_each_picture_hides_a_pale_cell_and_a_shared_stretch_does_not() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    cell = 0.3 + 0.4 * ((y - 32).square() + (x - 32).square()) / 2048
    pair = cell[None, None], (1 - 0.5 * (1 - cell))[None, None]
    plain = (pair[0] - pair[1]).abs().mean()
    each, shared = (equalised(*pair, shared=shared) for shared in (False, True))
    assert plain > 0.1
    assert (each[0] - each[1]).abs().mean() < 0.02  # grey levels are rounded to 64
    assert (shared[0] - shared[1]).abs().mean() > 0.1
    assert (shared[0] - each[0]).abs().mean() < 0.03
