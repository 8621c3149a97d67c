"""The same smear under another microscope: rescaled, another exposure, another colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.color import hsv2rgb, rgb2hsv
from skimage.transform import resize

from napari_amil.core.base.types import Image

_PLATEAU = 0.12  # optical density from which on a cell counts as wholly there
_RIM_PX = (1.2, 4.0)  # the rim lies between these two blurs
_UNSTAINED_GROUND, _EDGE_CONTRAST, _UNSTAINED_LIGHT = 0.62, 0.9, (232, 240, 236)

Change = Callable[[Image], Image]

# Colours of the illumination (factors on red, green, blue) and of the stain (factors on optical density).
_LOOKS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "dark blue": ((0.35, 0.42, 0.75), (1.6, 1.0, 0.6)),
    "beige": ((0.95, 0.84, 0.60), (0.7, 0.9, 1.5)),
    "teal": ((0.45, 0.85, 0.80), (1.5, 0.7, 0.7)),
    "pink": ((1.00, 0.62, 0.75), (0.4, 1.2, 0.8)),
    "faint": ((1.00, 1.00, 1.00), (0.5, 0.5, 0.5)),
}
SCALES = (0.5, 0.75, 1.5, 2.0)
TURNS_OF_HUE = (120, 180, 240)


def rescaled(image: Image, factor: float) -> Image:
    """Return the field with ``factor`` times as many pixels per side."""
    shape = [round(length * factor) for length in image.shape[:2]]
    values = resize(image, (*shape, 3), order=1, anti_aliasing=factor < 1, preserve_range=True)
    return np.rint(values).astype(np.uint8)


def relit(image: Image, light: tuple[float, float, float], stain: tuple[float, float, float]) -> Image:
    """Return the field under a coloured light, its optical density multiplied per channel."""
    white = np.percentile(image.reshape(-1, 3), 95, axis=0)
    density = np.log(white / np.maximum(image, 1.0)) * stain
    return np.clip(np.rint(white * np.exp(-density) * light), 0, 255).astype(np.uint8)


def exposed(image: Image, factor: float) -> Image:
    """Return the field with ``factor`` times the light; values above white are clipped."""
    return np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)


def hue_turned(image: Image, degrees: float) -> Image:
    """Return the field with every hue turned around the colour circle."""
    hsv = rgb2hsv(image)
    hsv[..., 0] = (hsv[..., 0] + degrees / 360) % 1
    return np.rint(hsv2rgb(hsv) * 255).astype(np.uint8)


def unstained(image: Image, noise: float, rng: np.random.Generator) -> Image:
    """Return a made-up unstained field: bright rims with a dark seam, cells within as bright as the ground.

    What has a density becomes a plateau; of that only the edges are seen, as under a phase objective.
    """
    white = np.percentile(image.reshape(-1, 3), 95, axis=0)
    density = np.log(white / np.maximum(image, 1.0)).mean(axis=2)
    plateau = np.tanh(np.maximum(gaussian_filter(density, 1.0), 0) / _PLATEAU)
    edges = gaussian_filter(plateau, _RIM_PX[0]) - gaussian_filter(plateau, _RIM_PX[1])
    grey = _UNSTAINED_GROUND + _EDGE_CONTRAST * edges + noise * rng.standard_normal(edges.shape)
    return np.rint(np.clip(grey[..., None], 0, 1) * _UNSTAINED_LIGHT).astype(np.uint8)


def colour_changes() -> dict[str, Change]:
    """Return the changes of exposure and hue under their names."""

    def look(light: tuple[float, float, float], stain: tuple[float, float, float]) -> Change:
        return lambda image: relit(image, light, stain)

    def exposure(factor: float) -> Change:
        return lambda image: exposed(image, factor)

    def hue(degrees: float) -> Change:
        return lambda image: hue_turned(image, degrees)

    changes = {name: look(*colours) for name, colours in _LOOKS.items()}
    changes |= {"dark (x 0.4)": exposure(0.4), "bright (x 1.3)": exposure(1.3)}
    changes |= {f"hue +{degrees}°": hue(degrees) for degrees in TURNS_OF_HUE}
    return changes
