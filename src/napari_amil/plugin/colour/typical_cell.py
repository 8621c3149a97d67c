"""The typical cell as a circle on the image, and measuring it: a click on a cell, or a drag across one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication, QObject, Signal
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_amil.core.base.types import polygon_area
from napari_amil.plugin.colour.hover import STILL_PX, hover_of
from napari_amil.plugin.layers.cell_layer import image_transform
from napari_amil.plugin.layers.crops import to_rgb8
from napari_amil.plugin.layers.planes import shown_place, stack_of
from napari_amil.plugin.layers.rows import outline_of
from napari_amil.plugin.window.follow import COMPANION, hear
from napari_amil.plugin.window.viewer import PerViewer

_NAME = "typical cell"
_MARGIN = 0.15
"""Room between the circle and the corner of the image, in diameters."""
_LINE = 0.03
"""Width of the line in diameters."""
_REACHES_PX = (48, 96, 192, 384, 768)
_SMALLEST_PX = 5.0
_STEP = "Click on one ordinary red cell, or drag across it (Esc: never mind)."
_NO_CELL = "No single cell is there; drag across one from edge to edge instead."


class TypicalCell(QObject):
    """Draws the circle of one image at a time, and measures a cell when it is asked to."""

    measured = Signal(float)
    """Diameter of the cell that the user clicked on or dragged across, in pixels of the image."""
    messaged = Signal(str)
    """An instruction, or the reason why nothing was measured; empty once that is over."""
    ended = Signal()
    """Measuring is over, with or without a result."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._circle: Points | None = None
        self._place: tuple[str, NDArray[np.float64]] | None = None
        self._image: Image | None = None
        self._end: Callable[[], None] | None = None
        hear(self, viewer.layers.events.removed, self._on_removed)

    def close(self) -> None:
        """Remove the circle, and measure no more."""
        self.stop()
        self.show(None, None)

    def show(self, image: Image | None, diameter_px: float | None) -> None:
        """Draw the circle on ``image``, at the cell that was measured there, else in its corner."""
        viewer = self._viewer()
        if viewer is None:
            return
        if self._circle is not None and (
            image is None or diameter_px is None or self._circle.metadata[COMPANION] != str(image.unique_id)
        ):
            gone, self._circle = self._circle, None
            viewer.layers.remove(gone)
        if image is None or diameter_px is None or image not in viewer.layers:
            return
        at = self._centre(image, diameter_px)
        if self._circle is None:
            self._add(viewer, image, at, diameter_px)
        else:
            self._circle.data, self._circle.size = at[None], diameter_px
        assert self._circle is not None
        self._circle.name = f"{_NAME}: {diameter_px:.0f} pixels"

    def _add(self, viewer: ViewerModel, image: Image, at: NDArray[np.float64], size: float) -> None:
        self._circle = Points(
            at[None],
            size=size,
            name=_NAME,
            symbol="disc",
            face_color="transparent",
            border_color="black",
            border_width=_LINE,
            metadata={COMPANION: str(image.unique_id)},
            **_flat_transform(image),
        )
        self._circle.editable = False
        chosen = set(viewer.layers.selection)
        viewer.layers.insert(viewer.layers.index(image) + 1, self._circle)
        viewer.layers.selection = chosen

    def _centre(self, image: Image, diameter_px: float) -> NDArray[np.float64]:
        """Return y, x of the middle of the circle in pixels of the plane."""
        if self._place is not None and self._place[0] == str(image.unique_id):
            return self._place[1]
        height = stack_of(image).shape[-3 if image.rgb else -2]
        room = (0.5 + _MARGIN) * diameter_px
        return np.array([height - room, room])

    def measure(self, image: Image) -> None:
        """Wait for a click on a cell of ``image`` or a drag across one."""
        viewer = self._viewer()
        if viewer is None:
            return
        self.stop()
        self._image = image
        weak = weakref.WeakMethod(self._on_press)

        def on_press(_: ViewerModel, event: Any) -> Generator[None]:  # noqa: ANN401
            living = weak()
            if living is not None:
                yield from living(event)

        presses, camera, hover = viewer.mouse_drag_callbacks, viewer.scene.camera, hover_of(viewer)
        could_pan, camera.mouse_pan, hover.is_paused = camera.mouse_pan, False, True
        presses.insert(0, on_press)

        def end() -> None:
            presses.remove(on_press)
            camera.mouse_pan, hover.is_paused = could_pan, False

        self._end = end
        self.messaged.emit(_STEP)

    def stop(self) -> None:
        """Wait for no measurement any more."""
        end, self._end = self._end, None
        if end is not None:
            end()
            self.ended.emit()

    def _on_press(self, event: Any) -> Generator[None]:  # noqa: ANN401
        """Measure between press and release, or the object under a click."""
        start, first = np.array(event.pos, float), tuple(event.position)
        yield
        while event.type == "mouse_move":
            yield
        is_click = np.abs(np.asarray(event.pos, float) - start).max() <= STILL_PX
        image, viewer = self._image, self._viewer()
        if image is None or viewer is None:
            return
        ends = [
            np.asarray(image.world_to_data(point[-image.ndim :]), float)[-2:]
            for point in (first, event.position)
        ]
        found = (
            self._object_at(viewer, image, tuple(event.position), ends[1]) if is_click else _between(*ends)
        )
        if found is None:
            self.messaged.emit(_NO_CELL)
            return
        centre, diameter = found
        self._place = str(image.unique_id), centre
        self.stop()
        self.messaged.emit("")
        self.measured.emit(diameter)

    def _object_at(
        self, viewer: ViewerModel, image: Image, position: tuple[float, ...], at: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float] | None:
        """Return middle and diameter of the outlined cell at a place, else of the dark object there."""
        layer, row = hover_of(viewer).cell_at(position)
        if layer is not None:
            outline = outline_of(layer, row) - 0.5
            return outline.mean(axis=0), float(2 * np.sqrt(polygon_area(outline) / np.pi))
        plane = stack_of(image)[shown_place(viewer, image)] if image.ndim > 2 else stack_of(image)
        return object_under(plane, at)

    def _on_removed(self, event: Any) -> None:  # noqa: ANN401
        if event.value is self._circle:
            self._circle = None
        elif event.value is self._image:
            self.stop()


def object_under(plane: Any, at: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:  # noqa: ANN401
    """Return middle (y, x) and diameter in pixels of the dark object at a place of a bright field.

    Only pixels around the place are read. None where no object is, or where it has no end.
    """
    for reach in _REACHES_PX:
        low = np.maximum(np.rint(at).astype(int) - reach, 0)
        part = to_rgb8(np.asarray(plane[low[0] : low[0] + 2 * reach, low[1] : low[1] + 2 * reach]))[..., 1]
        y, x = np.rint(at).astype(int) - low
        if not (0 <= y < part.shape[0] and 0 <= x < part.shape[1]) or part.min() == part.max():
            continue
        dark = ndimage.binary_fill_holes(part <= threshold_otsu(part))
        labels, _ = ndimage.label(ndimage.binary_opening(dark))
        mask = labels == labels[y, x]
        if not labels[y, x] or mask[[0, -1]].any() or mask[:, [0, -1]].any():
            continue
        diameter = float(2 * np.sqrt(mask.sum() / np.pi))
        if diameter >= _SMALLEST_PX:
            return np.argwhere(mask).mean(axis=0) + low, diameter
    return None


def _between(
    first: NDArray[np.float64], last: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float] | None:
    diameter = float(np.hypot(*(last - first)))
    return ((first + last) / 2, diameter) if diameter >= _SMALLEST_PX else None


def _flat_transform(image: Image) -> dict[str, Any]:
    """Return the transform of the last two axes of an image, so that the circle shows on every plane."""
    if image.ndim == 2:
        return image_transform(image)
    return {"scale": image.scale[-2:], "translate": image.translate[-2:]}


typical_cell_of = PerViewer(lambda viewer: TypicalCell(viewer, QCoreApplication.instance()))
"""The circle of a viewer; every panel of it gets the same one."""
