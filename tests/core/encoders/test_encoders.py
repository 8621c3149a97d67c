"""An embedding belongs to its cell alone, whatever is scored with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.crop import CropEncoder
from napari_amil.core.encoders.measurements import MeasurementEncoder
from napari_amil.core.encoders.registry import build_encoder
from napari_amil.core.encoders.roi import AttMilRoiEncoder, RoiEncoder, scale_roi_maps


def crops(n: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("encoder", "instances"),
    [
        (CropEncoder(12, width=8), crops()),
        (CropEncoder(12, width=8, scales=1), crops()),
        (CropEncoder(12, width=8, colour=False), crops()),
        (RoiEncoder(12, 4), torch.randn(5, 4, 14, 14)),
        (AttMilRoiEncoder(12, 4), torch.randn(5, 4, 14, 14)),
    ],
    ids=["crop", "crop-one-scale", "crop-without-colour", "roi", "roi-attmil"],
)
def test_a_batch_is_embedded_as_cell_by_cell(encoder: nn.Module, instances: torch.Tensor) -> None:
    encoder.train()
    encoder(instances)  # running statistics leave their first values
    encoder.eval()
    with torch.no_grad():
        together = encoder(instances)
        single = torch.cat([encoder(instance[None]) for instance in instances])
    assert together.shape == (5, 12)
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)
    assert together.std(dim=0).max() > 1e-3


@pytest.mark.parametrize(("scales", "n_pooled"), [(1, 2 * 32), (2, 2 * (16 + 32))])
def test_mean_and_largest_activation_of_so_many_resolutions_are_embedded(scales: int, n_pooled: int) -> None:
    encoder = CropEncoder(12, width=8, scales=scales)
    seen: list[torch.Tensor] = []
    encoder.project.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    encoder(crops())
    assert seen[0].shape == (5, n_pooled)


def test_bytes_and_fractions_embed_alike() -> None:
    encoder = CropEncoder(12, width=8).eval()
    x = crops()
    torch.testing.assert_close(encoder(x), encoder(x.float() / 255.0))


def test_without_colour_only_the_mean_optical_density_counts() -> None:
    density = 0.1 + torch.rand(4, 3, 64, 64)
    shift = torch.tensor([0.08, -0.03, -0.05])[None, :, None, None]  # a tint that leaves the mean as it is
    plain, tinted = (-density).exp(), (-(density + shift)).exp()
    encoder = CropEncoder(12, width=8, colour=False).eval()
    torch.testing.assert_close(encoder(plain), encoder(tinted))
    assert (encoder(plain) - encoder((-1.2 * density).exp())).abs().max() > 1e-3
    seeing = CropEncoder(12, width=8).eval()
    assert (seeing(plain) - seeing(tinted)).abs().max() > 1e-3


@pytest.mark.parametrize("colour", [True, False])
def test_a_folded_copy_embeds_alike_without_batch_normalisation(colour: bool) -> None:
    encoder = CropEncoder(12, width=8, colour=colour)
    encoder(crops())  # running statistics leave their first values
    with torch.no_grad():
        for norm in (part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 2.0)
            norm.bias.uniform_(-0.5, 0.5)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    folded = encoder.folded()
    x = crops()
    with torch.no_grad():
        found = folded.embed(folded.pixelwise(x).flip(3))
        torch.testing.assert_close(found, encoder.eval()(x.flip(3)), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert folded.n_channels == (3 if colour else 1)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_published_encoder_has_the_published_size() -> None:
    encoder = RoiEncoder(500, in_channels=256)
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(2.21e6 + 0.33e6, rel=0.02)
    assert encoder.convolutions(torch.zeros(1, 256, 14, 14)).shape == (1, 650, 1, 1)
    assert (encoder(torch.randn(3, 256, 14, 14)) >= 0).all()


def test_products_of_patches_are_the_published_convolutions() -> None:
    encoder, maps = RoiEncoder(12, 4), torch.randn(5, 4, 14, 14, requires_grad=True)
    embedding, expected = encoder(maps), encoder.project(encoder.convolutions(maps))
    torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-6)
    weights = [maps, *encoder.parameters()]
    pairs = zip(
        torch.autograd.grad(embedding.square().sum(), weights),
        torch.autograd.grad(expected.square().sum(), weights),
        strict=True,
    )
    for gradient, wanted in pairs:
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-6)


def test_the_encoder_of_attmil_has_the_published_layers() -> None:
    encoder = build_encoder(ModelSettings(encoder="roi-attmil", latent_dim=500, dropout=0.1), 256)
    assert isinstance(encoder, AttMilRoiEncoder)
    convolutions = sum(p.numel() for p in encoder.convolutions.parameters())
    assert convolutions == pytest.approx(0.32e6, rel=0.03)
    assert encoder.convolutions(torch.zeros(1, 256, 14, 14)).shape == (1, 32, 4, 4)
    assert [layer.p for layer in encoder.modules() if isinstance(layer, nn.Dropout)] == [0.1]
    assert (encoder(torch.randn(3, 256, 14, 14)) >= 0).all()


def test_the_crop_encoder_refuses_feature_maps() -> None:
    with pytest.raises(AmilError, match="not 64"):
        build_encoder(ModelSettings(encoder="crop"), 64)


def test_maps_are_scaled_over_their_image_and_flat_ones_become_zero() -> None:
    maps = torch.randn(4, 2, 3, 3, dtype=torch.float64).half()
    scaled = scale_roi_maps(maps)
    assert scaled.dtype == torch.float32
    assert (scaled.min(), scaled.max()) == (-1, 1)
    low, high = maps.float().min(), maps.float().max()
    torch.testing.assert_close(scaled, 2 * (maps.float() - low) / (high - low) - 1)
    assert (scale_roi_maps(torch.full_like(maps, 7.0)) == 0).all()


def test_measurements_count_in_deviations_of_control_cells() -> None:
    encoder = MeasurementEncoder(2, (3, 4)).eval()
    encoder.fit(torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, torch.nan], [10.0, 5.0]]))
    assert encoder.center.tolist() == [2.0, 5.0]
    assert encoder.spread.tolist() == pytest.approx([1.4826, 1e-6])
    usual, unknown, far, farther = encoder(
        torch.tensor([[2.0, 5.0], [torch.nan, torch.nan], [50.0, 5.0], [90.0, 5.0]])
    )
    assert usual.shape == (7,)
    torch.testing.assert_close(usual, unknown)
    torch.testing.assert_close(far, farther)
    assert not torch.allclose(usual, far)


def test_measurements_themselves_count_in_standard_deviations() -> None:
    encoder = MeasurementEncoder(2, (3,), named=True).eval()
    encoder.fit(torch.tensor([[0.0, 5.0], [0.0, torch.nan], [0.0, 5.0], [4.0, 5.0]]))
    assert encoder.mean.tolist() == [1.0, 5.0]
    assert encoder.deviation.tolist() == pytest.approx([3**0.5, 1e-6])
    z = encoder(torch.tensor([[1.0, 5.0], [1.0 + 3**0.5, torch.nan], [100.0, 4.0]]))
    assert z.shape == (3, 5)
    torch.testing.assert_close(z[:, 3:], torch.tensor([[0.0, 0.0], [0.5, 0.0], [2.5, -2.5]]))
