"""Autosave of corrected cells to the user's data folder, and recovery after a crash."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.geojson import read_own
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.journal import Journal, journal_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.snapshot import from_json, snapshot
from napari_amil.plugin.layers.writers import write_snapshot
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.user_settings import preference

_DELAY_MS = 1500
_KEPT_DAYS = 30
_EVERY = 16
_SWITCH_S = 0.0005
_SESSION = f"{int(time.time()):x}-{os.getpid()}"


def autosave_folder() -> Path:
    """Return the folder of unsaved work, below the user's folder for data of programs."""
    return Path(platformdirs.user_data_dir("napari-amil", appauthor=False)) / "autosave"


@dataclass(frozen=True)
class UnsavedWork:
    """Work on an open image that an earlier session did not save."""

    path: Path
    image: str
    when: float
    """Time of the last change, seconds since 1970."""


class Autosave(QObject):
    """Writes the cell layers of one viewer that hold work by hand, a moment after each change.

    A file belongs to a session and to the pixels of an image, so that the work is found again under another
    name, and no session writes over the work of another one. It goes when the work is saved, thrown away or
    undone.
    """

    offersChanged = Signal()  # noqa: N815 - Qt's manner
    _failed = Signal(str)

    def __init__(self, viewer: ViewerModel, folder: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._folder = folder
        self._session = f"{_SESSION}-{id(self):x}"
        self._written: dict[str, int] = {}
        self._heard: weakref.WeakSet[Journal] = weakref.WeakSet()
        self._writer = ThreadPoolExecutor(1, "autosave")
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self.save)
        self._failed.connect(self._on_failed)
        self.offers: list[UnsavedWork] = []
        hear(self, viewer.layers.events.removed, self._on_layers_changed)

    def watch(self, layer: Shapes) -> None:
        """Write ``layer`` from now on."""
        journal = journal_of(layer)
        if journal is not None and journal not in self._heard:
            journal.changed.connect(self._on_changed)
            self._heard.add(journal)

    def _on_changed(self) -> None:
        self._timer.start()

    def _on_layers_changed(self, _: Any) -> None:  # noqa: ANN401
        self.look()

    def save(self) -> None:
        """Write every cell layer with work by hand that changed since; a thread does the writing."""
        viewer = self._viewer()
        if viewer is None or not preference("correct", "autosave", True):
            return
        for layer in cell_layers(viewer.layers):
            record, journal = record_of(layer), journal_of(layer)
            if record is None or journal is None:
                continue
            path = self._path(viewer, layer)
            if journal.is_saved or not _has_work(layer):
                if self._written.pop(path.name, None) is not None:
                    self._do(partial(path.unlink, missing_ok=True))
            elif self._written.get(path.name) != journal.n_changes:
                self._written[path.name] = journal.n_changes
                data, attributes, _ = layer.as_layer_data_tuple()
                self._do(partial(write_snapshot, snapshot(data, attributes), path))

    def flush(self) -> None:
        """Save now and wait until everything is written."""
        self._timer.stop()
        self.save()
        self._writer.submit(int).result()

    def _do(self, work: Callable[[], object]) -> None:
        self._writer.submit(_yielding, work).add_done_callback(self._on_done)

    def _on_done(self, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            self._failed.emit(str(error))

    def _on_failed(self, message: str) -> None:
        show_warning(f"Your changes cannot be kept safe: {message}")

    def look(self) -> None:
        """Look for unsaved work of other sessions on the images that are open."""
        viewer = self._viewer()
        if viewer is None:
            return
        keys = {content_key(image): image.name for image in viewer.layers if isinstance(image, Image)}
        found = []
        for path in sorted(self._folder.glob("*.geojson")) if self._folder.is_dir() else []:
            key, _, session = path.stem.partition("_")
            age = time.time() - path.stat().st_mtime
            if age > _KEPT_DAYS * 86400:
                path.unlink(missing_ok=True)
            elif key in keys and not session.startswith(self._session):
                found.append(UnsavedWork(path, keys[key], path.stat().st_mtime))
        if found != self.offers:
            self.offers = found
            self.offersChanged.emit()

    def restore(self, offer: UnsavedWork) -> Shapes:
        """Open the work of an earlier session; cells of the same plane that are open are hidden.

        Raises
        ------
        AmilError
            If the file is gone or damaged.
        """
        viewer = self._viewer()
        own = read_own(offer.path)
        if viewer is None or own is None:
            raise AmilError(f"'{offer.path}' holds no cells; discard it.")
        layer = Layer.create(*from_json(own, str(offer.path)))
        restored = record_of(layer)
        before = [other for other in cell_layers(viewer.layers) if other.visible]
        viewer.add_layer(layer)
        for other in before:
            record = record_of(other)
            if record is not None and restored is not None and record.image_id == restored.image_id:
                other.visible = record.place != restored.place
        journal = journal_of(layer)
        if journal is not None:
            journal.mark_unsaved()
        self.flush()
        self.discard(offer)
        return layer

    def discard(self, offer: UnsavedWork) -> None:
        """Throw away the work of an earlier session."""
        offer.path.unlink(missing_ok=True)
        self.look()

    def _path(self, viewer: ViewerModel, layer: Shapes) -> Path:
        record = record_of(layer)
        assert record is not None
        images = (i for i in viewer.layers if isinstance(i, Image) and str(i.unique_id) == record.image_id)
        image = next(images, None)
        key = content_key(image) if image is not None else _digest(record.image_name.encode())
        return self._folder / f"{key}_{self._session}-{str(layer.unique_id)[:8]}.geojson"


def _yielding(work: Callable[[], object]) -> None:
    """Do some work in a thread that leaves the interpreter to the window ten times as often as usual.

    Drawing gives the interpreter away with every call of OpenGL, and would wait for it 5 ms each time.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        work()
    finally:
        sys.setswitchinterval(before)


def _has_work(layer: Shapes) -> bool:
    """Return whether a layer holds work by hand that is worth keeping."""
    record = record_of(layer)
    return record is not None and record.is_worked_on(layer.features)


def content_key(image: Image) -> str:
    """Return a name for the pixels of an image, whatever it is called: a digest of every 16th pixel."""
    stack = image.data[-1] if image.multiscale else image.data
    thin = (slice(None, None, _EVERY),) * 2
    lead = (0,) * (stack.ndim - (3 if image.rgb else 2))
    pixels = np.ascontiguousarray(np.asarray(stack[(*lead, *thin)]))
    return _digest(repr(tuple(stack.shape)).encode() + pixels.tobytes())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=10).hexdigest()
