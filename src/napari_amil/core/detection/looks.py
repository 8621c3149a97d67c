"""Looks of other microscopes, laid over a normalised training crop."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.images.foreign import NORMAL_COLOUR

_SHARES = {
    **{"disc": 0.12, "vignette": 0.3, "stain": 0.15, "grey": 0.08},
    **{"defocus": 0.1, "shift": 0.2, "jpeg": 0.3},
}
"""Share of the crops that get each look."""


def other_microscope(
    pixels: NDArray[np.float32], masks: list[NDArray[np.bool_]], rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """Return a crop ``(side, side, 3)`` in 0 to 1 as another microscope or camera might show it.

    Light that falls off, stain far paler or darker than usual, a grey camera, defocus, colours that the
    lens shifts against each other, the blocks of JPEG, and the rim of a round field of view, which cuts
    cells; each befalls a share of the crops. A mask of which less than 0.3 is left is empty.
    """
    drawn = {look: rng.random() < share for look, share in _SHARES.items()}
    if drawn["disc"]:
        pixels, masks = _behind_disc(pixels, masks, rng)
    density = -np.log(np.clip(pixels, 0.02, 1.0))
    if drawn["grey"]:
        density = (density / NORMAL_COLOUR.density).mean(axis=2, keepdims=True) * NORMAL_COLOUR.density
    if drawn["stain"]:
        density = density * np.exp(rng.normal(0, 0.5))
    if drawn["vignette"]:
        density = density + _vignette(len(pixels), rng)[..., None]
    if drawn["defocus"]:
        density = ndimage.gaussian_filter(density, (*(rng.uniform(1.4, 2.6),) * 2, 0))
    changed = np.exp(-density)
    if drawn["shift"]:
        way = rng.normal(0, 0.8, 2)
        for channel, sign in ((0, 1.0), (2, -1.0)):
            changed[..., channel] = ndimage.shift(changed[..., channel], sign * way, order=1, mode="nearest")
    if drawn["jpeg"]:
        changed = _compressed(changed, int(rng.integers(20, 85)))
    return np.clip(changed, 0.0, 1.0).astype(np.float32), masks


def _behind_disc(
    pixels: NDArray[np.float32], masks: list[NDArray[np.bool_]], rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """Cut a crop with the rim of a round field, outside which normalisation leaves background."""
    side = len(pixels)
    radius, angle = side * rng.uniform(0.7, 3.0), rng.uniform(0, 2 * np.pi)
    reach = radius - side * rng.uniform(-0.1, 0.4)  # from the middle of the crop to that of the disc
    y, x = np.ogrid[:side, :side]
    away = np.hypot(y - side / 2 - reach * np.sin(angle), x - side / 2 - reach * np.cos(angle)) - radius
    seen = away < 0
    fading = np.exp(-np.clip(-away, 0, None) / 4) * rng.uniform(0, 0.5)  # what is left of the dark rim
    dimmed = np.where(seen, np.exp(-fading), 1.0)[..., None]
    areas = [mask.sum() for mask in masks]
    cut = [mask & seen for mask in masks]
    left = [mask if mask.sum() >= 0.3 * area else mask & False for mask, area in zip(cut, areas, strict=True)]
    return np.where(seen[..., None], pixels * dimmed, 1.0).astype(np.float32), left


def _vignette(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the density ``(side, side)`` that light falling off adds, 0 where it is brightest."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j] - rng.uniform(-0.8, 0.8, 2)[:, None, None]
    return np.asarray(rng.uniform(0, 0.12) * (y**2 + x**2) / 2)


def _compressed(pixels: NDArray[np.float64], quality: int) -> NDArray[np.float64]:
    """Return a crop as it comes back from a JPEG file."""
    file = io.BytesIO()
    levels = np.clip(pixels * 255, 0, 255).round().astype(np.uint8)
    PIL.Image.fromarray(levels).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file), dtype=np.float64) / 255
