"""The fastest way of triangulating polygons that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from napari.utils.triangulation_backend import TriangulationBackend, set_backend

COMPILED_BACKENDS = ("bermuda", "PartSegCore_compiled_backend", "triangle", "numba")


def has_compiled_triangulation() -> bool:
    """Tell whether a compiled triangulation backend is installed; without one polygons are drawn coarser."""
    return any(importlib.util.find_spec(name) is not None for name in COMPILED_BACKENDS)


@contextmanager
def fastest_triangulation() -> Iterator[None]:
    """Use the fastest triangulation that is installed, and the user's own choice again afterwards."""
    before = set_backend(TriangulationBackend.fastest_available)
    try:
        yield
    finally:
        set_backend(before)
