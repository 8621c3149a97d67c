"""Augmentation moves and stains cells, and leaves them cells."""

from __future__ import annotations

import torch

from napari_amil.core.training.augment import augment_crops, augment_maps


def disc() -> torch.Tensor:
    """Return one crop ``(1, 3, 64, 64)`` of a round dark cell on white."""
    axis = torch.arange(64) - 31.5
    inside = axis[:, None] ** 2 + axis[None, :] ** 2 < 18**2
    return torch.where(inside, 0.5, 1.0).expand(1, 3, 64, 64).contiguous()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_crops_stay_in_range_with_a_white_background() -> None:
    crops = augment_crops((disc() * 255).to(torch.uint8).repeat(16, 1, 1, 1), generator())
    assert crops.shape == (16, 3, 64, 64)
    assert crops.min() > 0
    assert crops.max() <= 1 + 1e-6
    torch.testing.assert_close(crops[:, :, :4, :4], torch.ones(16, 3, 4, 4))


def test_size_is_kept_within_a_few_percent() -> None:
    crops = augment_crops(disc().repeat(32, 1, 1, 1), generator())
    area = (crops[:, 1] < 0.85).float().sum((1, 2))
    expected = float((disc()[0, 1] < 0.85).sum())
    assert (area / expected - 1).abs().max() < 0.25


def test_the_same_generator_gives_the_same_crops() -> None:
    crops = disc().repeat(4, 1, 1, 1)
    assert torch.equal(augment_crops(crops, generator()), augment_crops(crops, generator()))
    assert not torch.equal(augment_crops(crops, generator()), augment_crops(crops, generator(1)))


def test_maps_are_only_turned_and_mirrored() -> None:
    maps = torch.randn(24, 2, 5, 5).half()
    turned = augment_maps(maps, generator())
    assert turned.dtype == maps.dtype
    assert not torch.equal(turned, maps)
    torch.testing.assert_close(
        turned.flatten(1).sort(1).values, maps.flatten(1).sort(1).values, rtol=0, atol=0
    )
    torch.testing.assert_close(turned[:, :, 2, 2], maps[:, :, 2, 2], rtol=0, atol=0)
