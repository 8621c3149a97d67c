"""Cells of a layer redrawn as control cells, and the difference from them as an image layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray

from napari_amil.core.base.columns import ANOMALY, parts
from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers.cell_layer import cells_of, image_transform, need_record
from napari_amil.plugin.layers.colour_scale import map_colours
from napari_amil.plugin.layers.rows import layer_name
from napari_amil.plugin.window.follow import COMPANION

TWINS = "napari_amil_twins"
"""Key of the `Twins` in ``layer.metadata``."""
HOTTEST = 0.25
"""Difference, of 1, that has the last colour of a heat map."""
_STOPS = 64
_SAME_PX = 1e-3


@dataclass(frozen=True, eq=False)
class Twin:
    """Pictures of one cell ``(size, size, 3)`` uint8, and the difference ``(size, size)``, 0 to 1."""

    cell: NDArray[np.uint8]
    twin: NDArray[np.uint8]
    heat: NDArray[np.float32]
    memory: NDArray[np.uint8] | None

    def warmed(self, opacity: float) -> NDArray[np.uint8]:
        """Return the cell in grey under its difference in colour; ``opacity`` is that of the largest."""
        share = np.clip(np.nan_to_num(self.heat) / HOTTEST, 0, 1)
        colour = 255 * map_colours("inferno", share.ravel()).reshape(*share.shape, 4)[..., :3]
        grey = self.cell.mean(axis=2, keepdims=True)
        weight = opacity * share[..., None]
        return np.asarray(np.rint(weight * colour + (1 - weight) * grey), np.uint8)


@dataclass(frozen=True, eq=False)
class Twins:
    """Cells of a layer as the network of a score redraws them.

    Parameters
    ----------
    network
        Name of the score whose network drew them.
    asked
        The cells as they were sent.
    arrays
        ``cell``, ``twin`` and ``heat`` of each, ``field`` in place, and ``memory`` where there is one.
    """

    network: str
    asked: Cells
    arrays: dict[str, NDArray[np.generic]]

    def __deepcopy__(self, _: dict[int, object]) -> Twins:
        """Return the same pictures for a duplicated layer; nobody changes them."""
        return self

    def of(self, layer: Shapes, cell_id: int) -> Twin | None:
        """Return the pictures of a cell; None if it was not drawn, or has changed since."""
        rows = np.flatnonzero(self.asked.cell_id == cell_id)
        now = cells_of(layer)
        own = np.flatnonzero(now.cell_id == cell_id)
        if not len(rows) or not len(own):
            return None
        if not np.allclose(self.asked.boxes[rows[0]], now.boxes[own[0]], atol=_SAME_PX):
            return None
        parts = [self.arrays.get(name) for name in ("cell", "twin", "heat", "memory")]
        cell, twin, heat, memory = (None if part is None else part[rows[0]] for part in parts)
        return Twin(np.asarray(cell), np.asarray(twin), np.asarray(heat), memory)


def read_twins(path: Path, network: str, asked: Cells) -> Twins:
    """Return the arrays that the worker wrote to ``path``; may run in any thread."""
    with np.load(path, allow_pickle=False) as stored:
        return Twins(network, asked, dict(stored))


def twins_of(layer: Shapes) -> Twins | None:
    """Return the redrawn cells of a layer."""
    found = layer.metadata.get(TWINS)
    return found if isinstance(found, Twins) else None


def keep_twins(layer: Shapes, twins: Twins) -> None:
    """Keep the redrawn cells of ``layer`` with it."""
    layer.metadata[TWINS] = twins


def has_network(columns: Iterable[str]) -> bool:
    """Return whether cells with these columns were scored by a network that can redraw them."""
    return bool(parts(columns, f"{ANOMALY}_percentile"))


def show_heat(viewer: ViewerModel, layer: Shapes, twins: Twins) -> Image:
    """Show the differences of all cells over their image, in the layer of an earlier call if it is open."""
    record = need_record(layer)
    field = np.asarray(twins.arrays["field"], np.float32)
    pixels = np.where(field > 0, field, np.nan).reshape((1,) * len(record.place) + field.shape)
    name, owner = layer_name(record.image_name, f"difference ({twins.network})"), str(layer.unique_id)
    for other in viewer.layers:
        if isinstance(other, Image) and other.name == name and other.metadata.get(COMPANION) == owner:
            other.data = pixels
            return other
    colours = map_colours("inferno", np.linspace(0, 1, _STOPS))
    colours[:, 3] = np.linspace(0, 1, _STOPS) ** 0.5  # what hardly differs is hardly seen
    own = image_transform(layer)
    shown = Image(
        pixels,
        name=name,
        colormap=Colormap(colours, name="difference", nan_color=(0.0, 0.0, 0.0, 0.0)),
        contrast_limits=(0.0, HOTTEST),
        blending="translucent",
        opacity=0.8,
        metadata={COMPANION: owner},
        **own,
    )
    if record.place:
        shown.translate = np.asarray(own["translate"]) + np.asarray(own["scale"]) * np.array(
            [*record.place, 0, 0], float
        )
    layers = viewer.layers
    chosen = set(layers.selection)
    layers.insert(layers.index(layer), shown)
    layers.selection = chosen
    return shown
