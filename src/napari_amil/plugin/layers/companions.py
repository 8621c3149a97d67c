"""Layers that accompany cell layers: created, updated and removed with them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from napari.utils.transforms import Affine
from qtpy.QtCore import QObject, QTimer, Signal

from napari_amil.plugin.layers.cell_layer import image_transform
from napari_amil.plugin.layers.rows import PIXEL_EDGE
from napari_amil.plugin.window.follow import COMPANION, hear

MOVES = ("scale", "translate", "rotate", "shear", "affine")
"""Events of a layer that has another transform."""


class Companions(QObject):
    """One more layer for each of some cell layers.

    Parameters
    ----------
    viewer
        Viewer with the layers.
    make
        Returns the companion of a cell layer.
    update
        Brings a companion up to date.
    """

    deleted = Signal()
    """The user deleted a companion; it is not made again before `show` asks for it again."""
    moved = Signal()
    """A cell layer has another transform."""

    def __init__(
        self,
        viewer: ViewerModel,
        make: Callable[[Shapes], Layer],
        update: Callable[[Shapes, Layer], None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.proxy(viewer)
        self._make, self._update = make, update
        self._pairs: list[tuple[Shapes, Layer]] = []
        self._is_ours = False
        hear(self, viewer.layers.events.removed, self._on_removed)

    def of(self, layer: Shapes) -> Layer | None:
        """Return the companion of a cell layer, if it has one."""
        return next((companion for cells, companion in self._pairs if cells is layer), None)

    def show(self, layers: Iterable[Shapes]) -> None:
        """Let exactly ``layers`` have an up-to-date companion."""
        wanted = list(layers)
        for cells, companion in list(self._pairs):
            if not any(cells is layer for layer in wanted):
                self._pairs = [pair for pair in self._pairs if pair[1] is not companion]
                self._remove(companion)
        for layer in wanted:
            companion = self.of(layer)
            if companion is None:
                self._add(layer)
            else:
                self._update(layer, companion)

    def _add(self, layer: Shapes) -> None:
        companion = self._make(layer)
        companion.metadata[COMPANION] = str(layer.unique_id)
        layers = self._viewer.layers
        chosen = set(layers.selection)  # a layer that is added is chosen, and ours must not be
        layers.insert(layers.index(layer), companion)
        layers.selection = chosen
        self._pairs.append((layer, companion))
        for name in MOVES:
            hear(self, getattr(layer.events, name), self._on_moved)

    def _remove(self, companion: Layer) -> None:
        if companion in self._viewer.layers:
            self._is_ours = True
            try:
                self._viewer.layers.remove(companion)
            finally:
                self._is_ours = False

    def _on_removed(self, event: Any) -> None:  # noqa: ANN401
        gone = event.value
        pair = next((pair for pair in self._pairs if gone is pair[0] or gone is pair[1]), None)
        if pair is None or self._is_ours:
            return
        self._pairs = [kept for kept in self._pairs if kept is not pair]
        if gone is pair[0]:
            QTimer.singleShot(0, _Removal(self._viewer, pair[1]))
        else:
            self.deleted.emit()

    def _on_moved(self, _: object) -> None:
        for cells, companion in self._pairs:
            if companion.ndim == cells.ndim:
                self._update(cells, companion)
        self.moved.emit()


class _Removal:
    """Removes a layer once napari is done with removing another one."""

    def __init__(self, viewer: ViewerModel, layer: Layer) -> None:
        self._viewer, self._layer = viewer, layer  # a proxy of the viewer

    def __call__(self) -> None:
        if self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)


def coarse_transform(layer: Layer, place: tuple[int, ...], step: float) -> dict[str, Any]:
    """Return the transform under which elements of ``step`` pixels lie on one plane of a layer."""
    own = image_transform(layer)
    zoom = np.array([1.0] * len(place) + [step, step])
    first = np.array([*place, *([PIXEL_EDGE * step - PIXEL_EDGE] * 2)], float)
    linear = Affine(scale=own["scale"], rotate=own["rotate"], shear=own["shear"], translate=own["translate"])
    return own | {"scale": np.asarray(own["scale"]) * zoom, "translate": np.asarray(linear(first))}


def lie_on(companion: Layer, layer: Layer) -> None:
    """Give a companion in the same pixels the transform of its cell layer, or cells that of their image."""
    for name, value in image_transform(layer).items():
        if not _is_same(getattr(companion, name), value):
            setattr(companion, name, value)  # each draws the layer anew


def _is_same(old: object, new: object) -> bool:
    """Return whether two parts of a transform are equal: numbers, an affine, or units."""
    if isinstance(old, tuple) or isinstance(new, tuple):
        return old == new
    return np.array_equal(np.asarray(old, float), np.asarray(new, float))


def companions_of(viewer: ViewerModel, layer: Shapes) -> list[Layer]:
    """Return every companion of a cell layer."""
    own = str(layer.unique_id)
    return [other for other in viewer.layers if other.metadata.get(COMPANION) == own]
