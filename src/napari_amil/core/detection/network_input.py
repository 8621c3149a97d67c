"""Input of the networks: a normalised field at the scale of their training, whole or tile by tile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import rescale
from torch import Tensor
from torch.nn import functional

from napari_amil.core.base.settings import DetectionSettings, NormalisationSettings
from napari_amil.core.detection.tiles import Window
from napari_amil.core.images.field_of_view import FieldOfView, field_of_view
from napari_amil.core.images.fields import Field, is_large
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX, network_scale, typical_diameter
from napari_amil.core.images.foreign import CellColour, typical_colour
from napari_amil.core.images.normalise import Appearance, Part, whole_appearance
from napari_amil.core.images.samples import sample_windows


@dataclass(frozen=True, eq=False)
class InputTile:
    """One tile of a field.

    Parameters
    ----------
    pixels
        ``(3, height, width)`` float tensor at the network's scale, background 1.
    normalised
        ``(h, w, 3)`` the same part at the scale of the original image.
    corner
        Row and column of ``normalised`` in the original image.
    """

    pixels: Tensor
    normalised: NDArray[np.float32]
    corner: tuple[int, int]


class NetworkInput(Protocol):
    """A field as cell detection reads it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the original image in pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at the network's scale in pixels."""

    @property
    def scale(self) -> float:
        """Pixels of the network per pixel of the original image."""

    @property
    def diameter_px(self) -> float:
        """Typical diameter of a cell in pixels of the original image."""

    @property
    def colour(self) -> CellColour:
        """The colour of a typical cell."""

    @property
    def seen(self) -> FieldOfView | None:
        """The part of the image that shows the smear, None where that is all of it."""

    def at_diameter(self, diameter_px: float) -> NetworkInput:
        """Return the field with another estimate of the typical diameter."""

    def tile(self, window: Window) -> InputTile:
        """Return the part of the field in a window at the network's scale."""

    def part(self, window: Window) -> NDArray[np.float32]:
        """Return the normalised part of the field in a window of the original image."""


@dataclass(frozen=True, eq=False)
class WholeInput:
    """A normalised field that fits into memory.

    Parameters
    ----------
    pixels
        ``(3, height, width)`` float tensor at the network's scale, background 1.
    scale
        Pixels of the network per pixel of the original image.
    diameter_px
        Typical diameter of a cell in pixels of the original image.
    normalised
        ``(height, width, 3)`` at the scale of the original image.
    seen
        The part of the image that shows the smear, None where that is all of it.
    """

    pixels: Tensor
    scale: float
    diameter_px: float
    normalised: NDArray[np.float32] = field(repr=False)
    seen: FieldOfView | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the original image in pixels."""
        return self.normalised.shape[0], self.normalised.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at the network's scale in pixels."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])

    @cached_property
    def colour(self) -> CellColour:
        """The colour of a typical cell."""
        return typical_colour(self.normalised)

    def at_diameter(self, diameter_px: float) -> WholeInput:
        """Return the field with another estimate of the typical diameter."""
        scale = network_scale(diameter_px)
        return WholeInput(_scaled(self.normalised, scale), scale, diameter_px, self.normalised, self.seen)

    def tile(self, window: Window) -> InputTile:
        """Return the part of the field in a window at the network's scale."""
        rows, columns = original_window(window, self.scale, self.shape)
        pixels = self.pixels[:, window[0], window[1]]
        return InputTile(pixels, self.normalised[rows, columns], (rows.start, columns.start))

    def part(self, window: Window) -> NDArray[np.float32]:
        """Return the normalised part of the field in a window of the original image."""
        return self.normalised[window]


@dataclass(frozen=True, eq=False)
class TiledInput:
    """A field of any size, read, normalised and scaled tile by tile.

    Parameters
    ----------
    source
        Image that is read window by window.
    appearance
        Light and stain, fitted to sampled windows.
    scale, diameter_px, colour
        As in `NetworkInput`, from the same windows.
    """

    source: Field
    appearance: Appearance
    scale: float
    diameter_px: float
    colour: CellColour

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the original image in pixels."""
        return self.source.shape

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at the network's scale in pixels."""
        height, width = (max(round(length * self.scale), 1) for length in self.shape)
        return height, width

    @property
    def seen(self) -> FieldOfView | None:
        """The part of the image that shows the smear, None where that is all of it."""
        return self.appearance.seen

    def at_diameter(self, diameter_px: float) -> TiledInput:
        """Return the field with another estimate of the typical diameter."""
        return replace(self, scale=network_scale(diameter_px), diameter_px=diameter_px)

    def tile(self, window: Window) -> InputTile:
        """Read, normalise and scale the part of the field in a window at the network's scale."""
        rows, columns = original_window(window, self.scale, self.shape)
        normalised = self.part((rows, columns))
        pixels = torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))
        if self.scale != 1.0:
            size = [axis.stop - axis.start for axis in window]
            pixels = functional.interpolate(pixels[None], size, mode="bilinear", antialias=self.scale < 1)[0]
        return InputTile(pixels, normalised, (rows.start, columns.start))

    def part(self, window: Window) -> NDArray[np.float32]:
        """Read and normalise the part of the field in a window of the original image."""
        rows, columns = window
        return self.appearance.normalise(Part(self.source.window(rows, columns), (rows.start, columns.start)))


def original_window(window: Window, scale: float, shape: tuple[int, int]) -> Window:
    """Return the window of the original image that a window at the network's scale shows."""
    rows, columns = (
        slice(round(axis.start / scale), min(round(axis.stop / scale), length))
        for axis, length in zip(window, shape, strict=True)
    )
    return rows, columns


def scale_and_diameter(windows: list[NDArray[np.float32]], given_px: float | None) -> tuple[float, float]:
    """Return the network's scale and the typical diameter in pixels of the original image.

    A diameter that is given counts as it is; one that is estimated from normalised windows is trusted
    only to tell magnifications apart (`network_scale`). Where no cell stands alone, the reference
    serves.
    """
    if given_px:
        return REFERENCE_DIAMETER_PX / given_px, float(given_px)
    diameter = typical_diameter(*windows)
    if not np.isfinite(diameter):
        diameter = REFERENCE_DIAMETER_PX
    return network_scale(diameter), float(diameter)


def network_input(
    field: Field, settings: DetectionSettings, normalisation: NormalisationSettings
) -> NetworkInput:
    """Return a field of any size at the scale on which the networks were trained, large ones lazily."""
    if is_large(field.shape):
        return tiled_input(field, settings, normalisation)
    height, width = field.shape
    whole = Part(field.window(slice(0, height), slice(0, width)), (0, 0))
    appearance = whole_appearance(whole.pixels, normalisation)
    return input_from_array(appearance.normalise(whole), settings.cell_diameter_px, appearance.seen)


def input_from_array(
    normalised: NDArray[np.float32], diameter_px: float | None, seen: FieldOfView | None = None
) -> WholeInput:
    """Return a field in memory at the scale on which the networks were trained (`scale_and_diameter`)."""
    scale, diameter = scale_and_diameter([normalised], diameter_px)
    return WholeInput(_scaled(normalised, scale), scale, diameter, normalised, seen)


def _scaled(normalised: NDArray[np.float32], scale: float) -> Tensor:
    """Return a normalised field ``(height, width, 3)`` as a tensor ``(3, h, w)`` at the network's scale."""
    if scale != 1.0:
        normalised = rescale(normalised, scale, channel_axis=2, anti_aliasing=scale < 1).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


def tiled_input(
    source: Field, settings: DetectionSettings, normalisation: NormalisationSettings
) -> TiledInput:
    """Return a field of any size at the scale on which the networks were trained.

    Light, stain, diameter and colour of its cells are estimated from windows spread over it.
    """
    places = sample_windows(source.shape)
    parts = [Part(source.window(*place), (place[0].start, place[1].start)) for place in places]
    appearance = Appearance.fit(parts, source.shape, normalisation, field_of_view(source))
    windows = [appearance.normalise(part) for part in parts]
    scale, diameter = scale_and_diameter(windows, settings.cell_diameter_px)
    return TiledInput(source, appearance, scale, diameter, typical_colour(*windows))
