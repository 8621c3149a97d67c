"""The fastest way of triangulating polygons that is installed."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from napari.utils.triangulation_backend import TriangulationBackend, set_backend

COMPILED_BACKENDS = ("bermuda", "PartSegCore_compiled_backend", "triangle", "numba")


def has_compiled_triangulation() -> bool:
    """Tell whether a compiled triangulation backend is installed; without one polygons are drawn coarser."""
    return any(importlib.util.find_spec(name) is not None for name in COMPILED_BACKENDS)


class _Choice:
    """The user's own choice while the fastest is used, by the window or a thread that builds a layer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._own = TriangulationBackend.fastest_available

    def enter(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._own = set_backend(TriangulationBackend.fastest_available)
            self._n_inside += 1

    def leave(self) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                set_backend(self._own)


_choice = _Choice()


@contextmanager
def fastest_triangulation() -> Iterator[None]:
    """Use the fastest triangulation that is installed, and the user's own choice again afterwards."""
    _choice.enter()
    try:
        yield
    finally:
        _choice.leave()
