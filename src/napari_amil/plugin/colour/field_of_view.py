"""A tint over the part of an image outside the field of view."""

from __future__ import annotations

import weakref
from functools import partial

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.events import Event
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.layers.companions import MOVES, coarse_transform
from napari_amil.plugin.layers.planes import Plane, shown_place, shown_plane
from napari_amil.plugin.layers.rows import layer_name
from napari_amil.plugin.layers.slides import is_searched_in_parts
from napari_amil.plugin.window.follow import COMPANION, LayerCombo, hear
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import FieldOfViewFound, FindFieldOfView

_MASK = "napari_amil_field_of_view"
"""Key in ``metadata`` of the tint: the place of its plane, and the pixels of the image in an element."""
_TINT = (0.95, 0.55, 0.1, 1.0)
_OPACITY = 0.45
_TIP = (
    "Tint what does not count as smear: a black surround, frames, rulers and bars of text. No cell is looked "
    "for there. The cells and the image are not changed."
)
_ALL = "All of this image counts as smear."


class FieldOfViewBox(QCheckBox):
    """Lays the tint over the shown plane of the chosen image, and takes it away again.

    Parameters
    ----------
    viewer, worker
        Viewer with the image, and worker that finds its field of view.
    image
        The choice of the image.
    """

    messaged = Signal(str, str)
    """A sentence for the user, and its kind: empty, or ``error``."""

    def __init__(self, viewer: ViewerModel, worker: Worker, image: LayerCombo) -> None:
        super().__init__("Show the field of view")
        self.setToolTip(_TIP)
        self._viewer, self._worker, self._image = weakref.proxy(viewer), worker, image
        self._asked: Plane | None = None
        self._heard: weakref.WeakSet[Image] = weakref.WeakSet()
        self.clicked.connect(self._on_clicked)
        image.layerChanged.connect(self.refresh)
        hear(self, viewer.layers.events.removed, self._on_removed)
        hear(self, viewer.dims.events.current_step, self.refresh)
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Show whether the tint lies on the shown plane of the chosen image."""
        image, is_asked = self._image.layer(), self._asked is not None
        self.setEnabled(image is not None and not is_asked)
        self.setChecked(is_asked or (image is not None and self._tint(image) is not None))

    def _tint(self, image: Image) -> Labels | None:
        """Return the tint on the shown plane of an image."""
        place = shown_place(self._viewer, image)
        return next((tint for tint in self._tints(image) if tint.metadata[_MASK][0] == place), None)

    def _tints(self, image: Image) -> list[Labels]:
        own = str(image.unique_id)
        return [t for t in self._viewer.layers if _MASK in t.metadata and t.metadata[COMPANION] == own]

    def _on_clicked(self, wanted: bool) -> None:
        image = self._image.layer()
        tint = self._tint(image) if image is not None else None
        if tint is not None:
            self._viewer.layers.remove(tint)
        elif wanted and image is not None:
            self._look(image)
        self.refresh()

    def _look(self, image: Image) -> None:
        """Ask for the field of view of the shown plane; the tint is laid when the answer is there."""
        try:
            if is_searched_in_parts(image):
                raise AmilError("A slide is searched in parts; find cells first, then choose the part.")
            plane = shown_plane(self._viewer, image)
            folder = self._worker.new_folder()
            task = self._worker.start(FindFieldOfView(**plane.input(folder), out=folder))
        except (AmilError, OSError) as error:
            self.messaged.emit(str(error), "error")
            return
        self._asked = plane
        task.finished.connect(self._on_found)
        task.errored.connect(self._on_errored)
        task.cancelled.connect(self._on_cancelled)

    def _on_found(self, found: FieldOfViewFound) -> None:
        plane, self._asked = self._asked, None
        if plane is not None and plane.layer in self._viewer.layers:
            if found.mask is None:
                self.messaged.emit(_ALL, "")
            else:
                self._lay(_tint_of(plane, np.load(found.mask), found.step), plane.layer)
        self.refresh()

    def _lay(self, tint: Labels, image: Image) -> None:
        layers = self._viewer.layers
        chosen = set(layers.selection)  # a layer that is added is chosen, and ours must not be
        layers.insert(layers.index(image) + 1, tint)
        layers.selection = chosen
        if image not in self._heard:
            self._heard.add(image)
            for name in MOVES:
                hear(self, getattr(image.events, name), self._on_moved)

    def _on_errored(self, message: str) -> None:
        self.messaged.emit(message, "error")
        self._on_cancelled()

    def _on_cancelled(self) -> None:
        self._asked = None
        self.refresh()

    def _on_moved(self, event: Event) -> None:
        for tint in self._tints(event.source):
            for name, value in coarse_transform(event.source, *tint.metadata[_MASK]).items():
                setattr(tint, name, value)

    def _on_removed(self, event: Event) -> None:
        if isinstance(event.value, Image):
            for tint in self._tints(event.value):
                QTimer.singleShot(0, partial(self._remove, tint))  # once napari is done with the image
        self.refresh()

    def _remove(self, tint: Labels) -> None:
        if tint in self._viewer.layers:
            self._viewer.layers.remove(tint)


def _tint_of(plane: Plane, inside: np.ndarray, step: int) -> Labels:
    """Return the layer that tints the part outside a mask ``(height / step, width / step)``."""
    outside = (~inside).astype(np.uint8).reshape((1,) * len(plane.place) + inside.shape)
    tint = Labels(
        outside,
        name=layer_name(plane.name, "outside the field of view"),
        opacity=_OPACITY,
        colormap=DirectLabelColormap(color_dict={1: _TINT, None: (0, 0, 0, 0)}),
        metadata={COMPANION: str(plane.layer.unique_id), _MASK: (plane.place, step)},
        **coarse_transform(plane.layer, plane.place, step),
    )
    tint.editable = False
    return tint
