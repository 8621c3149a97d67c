"""Thumbnails of cells, cut in a thread and cached."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QImage

from napari_amil.plugin.layers.crops import UNREADABLE, PixelSource, Square, cut
from napari_amil.plugin.window.background import Mail

SIZE_PX = 128
"""Side of a thumbnail as it is kept; larger ones on the screen are enlarged."""
_KEPT = 2500
_FIELDS_KEPT_BYTES = 256_000_000


Done = list[tuple[tuple[str, Square], NDArray[np.uint8] | None]]
"""Keys of crops and their pixels; None where the image could not be read."""


class Crop(NamedTuple):
    """A window on a field."""

    field: PixelSource
    square: Square

    @property
    def key(self) -> tuple[str, Square]:
        """A key that is different for every crop."""
        return self.field.key, self.square


class Thumbnails(QObject):
    """Cuts the visible crops, field by field, without ever holding up the window."""

    arrived = Signal()
    """Some thumbnails that were wanted are there now."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._images: OrderedDict[tuple[str, Square], QImage | None] = OrderedDict()
        self._cutter = _Cutter(Mail(self))
        self.destroyed.connect(self._cutter.stop)

    def get(self, crop: Crop) -> QImage | None:
        """Return the thumbnail if it is there."""
        image = self._images.get(crop.key)
        if crop.key in self._images:
            self._images.move_to_end(crop.key)
        return image

    def is_lost(self, crop: Crop) -> bool:
        """Return whether the image of this crop could not be read."""
        return crop.key in self._images and self._images[crop.key] is None

    def want(self, crops: Iterable[Crop]) -> None:
        """Cut these crops; earlier ones that have scrolled away are dropped."""
        self._cutter.want([crop for crop in crops if crop.key not in self._images])

    def clear_lost(self) -> None:
        """Try again to read the lost crops."""
        for key in [key for key, image in self._images.items() if image is None]:
            del self._images[key]

    def receive(self, done: Done) -> None:
        """Keep the crops of a finished read."""
        for key, pixels in done:
            self._images[key] = None if pixels is None else _picture(pixels)
        while len(self._images) > _KEPT:
            self._images.popitem(last=False)
        self.arrived.emit()


class _Cutter:
    """One thread that lives while something is wanted; knows no Qt."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._lock = threading.Lock()
        self._wanted: dict[str, list[Crop]] = {}
        self._fields: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._is_running = False
        self._is_stopped = False

    def want(self, crops: list[Crop]) -> None:
        """Replace the wanted crops."""
        by_field: dict[str, list[Crop]] = {}
        for crop in crops:
            by_field.setdefault(crop.field.key, []).append(crop)
        with self._lock:
            self._wanted = by_field
            start = bool(by_field) and not self._is_running
            self._is_running |= start
        if start:
            threading.Thread(target=self._run, name="napari-amil thumbnails", daemon=True).start()

    def stop(self, *_: object) -> None:
        """Let the thread end after the field it is at."""
        with self._lock:
            self._wanted, self._is_stopped = {}, True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._is_running = False
                    return
                crops = self._wanted.pop(next(iter(self._wanted)))
            done = self._cut(crops)
            with self._lock:
                if self._is_stopped:
                    self._is_running = False
                    return
            self._mail.send(partial(Thumbnails.receive, done=done))

    def _cut(self, crops: list[Crop]) -> Done:
        try:
            pixels = self._load(crops[0].field)
        except (*UNREADABLE, RuntimeError, MemoryError):
            return [(crop.key, None) for crop in crops]
        return [(crop.key, _cut_or_none(pixels, crop.square)) for crop in crops]

    def _load(self, field: PixelSource) -> NDArray[np.uint8]:
        """Return the pixels of a field; the last few fields are kept."""
        if field.key not in self._fields:
            self._fields[field.key] = field.load()
            while len(self._fields) > 1 and _n_bytes(self._fields) > _FIELDS_KEPT_BYTES:
                self._fields.popitem(last=False)
        self._fields.move_to_end(field.key)
        return self._fields[field.key]


def _n_bytes(fields: OrderedDict[str, NDArray[np.uint8]]) -> int:
    return sum(pixels.nbytes for pixels in fields.values())


def _cut_or_none(pixels: NDArray[np.uint8], square: Square) -> NDArray[np.uint8] | None:
    try:
        return cut(pixels, square, SIZE_PX)
    except ValueError:
        return None


def _picture(pixels: NDArray[np.uint8]) -> QImage:
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).tobytes()
    return QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
