"""Fast drawing of thousands of shapes: fewer corners, fast triangulation, colours set at once."""

from __future__ import annotations

import gc
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Shapes
from napari.utils.triangulation_backend import TriangulationBackend, set_backend
from numpy.typing import NDArray

Points = NDArray[np.float64]
COMPILED_BACKENDS = ("bermuda", "PartSegCore_compiled_backend", "triangle", "numba")


def simplified(outlines: Sequence[Points], tolerance_px: float) -> list[Points]:
    """Return the closed polygons with fewer corners, never farther than ``tolerance_px`` from the given ones.

    Douglas and Peucker's method (Cartographica 10, 1973), for all polygons in step: round by round the
    corner of each open piece that lies farthest from its chord is kept. Each outline ``(n_points, 2)`` keeps
    its first corner; one that would have fewer than three corners stays as it is.
    """
    if not outlines:
        return []
    sizes = np.array([len(outline) + 1 for outline in outlines])
    points = np.concatenate([np.concatenate([outline, outline[:1]]) for outline in outlines]).astype(float)
    ends = np.cumsum(sizes) - 1
    starts = ends - sizes + 1
    kept = np.zeros(len(points), dtype=bool)
    kept[starts] = True
    first, last = starts, ends
    while len(first):
        inside = last - first > 1
        first, last = first[inside], last[inside]
        if not len(first):
            break
        far, distance = _farthest(points, first, last)
        split = distance > tolerance_px
        kept[far[split]] = True
        first, far, last = first[split], far[split], last[split]
        first, last = np.concatenate([first, far]), np.concatenate([far, last])
    simple = [points[start:end][kept[start:end]] for start, end in zip(starts, ends, strict=True)]
    return [
        new if len(new) >= 3 and len(old) > 4 else np.asarray(old, float)
        for new, old in zip(simple, outlines, strict=True)
    ]


def _farthest(
    points: Points, first: NDArray[np.intp], last: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the inner point of each piece farthest from its chord, and its distance."""
    counts = last - first - 1
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
    piece = np.repeat(np.arange(len(first)), counts)
    inner = np.arange(counts.sum()) - begins[piece] + first[piece] + 1
    start = points[first][piece]
    chord = points[last][piece] - start
    offset = points[inner] - start
    length = np.maximum((chord**2).sum(axis=1), 1e-30)
    along = np.clip((offset * chord).sum(axis=1) / length, 0, 1)  # beyond an end, the end itself is nearest
    distance = np.linalg.norm(offset - along[:, None] * chord, axis=1)
    largest = np.maximum.reduceat(distance, begins)
    order = np.lexsort((-distance, piece))
    return inner[order[begins]], largest


def has_compiled_triangulation() -> bool:
    """Return whether a compiled triangulation backend is installed; without one polygons are coarser."""
    return any(importlib.util.find_spec(name) is not None for name in COMPILED_BACKENDS)


class _Choice:
    """The user's own choice while the fastest is used, by the window or a thread that builds a layer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._own = TriangulationBackend.fastest_available
        self._collects = True

    def enter(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._own = set_backend(TriangulationBackend.fastest_available)
                self._collects = gc.isenabled()
                gc.disable()
            self._n_inside += 1

    def leave(self) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                set_backend(self._own)
                if self._collects:
                    gc.enable()


_choice = _Choice()


@contextmanager
def fastest_triangulation() -> Iterator[None]:
    """Use the fastest triangulation that is installed, and the user's own choice again afterwards.

    Meanwhile no garbage is collected: thousands of shapes are many objects that all stay, and Python would
    look through every object of the window again and again for garbage among them.
    """
    _choice.enter()
    try:
        yield
    finally:
        _choice.leave()


def shape_at(layer: Shapes, row: int) -> tuple[NDArray[Any], str]:
    """Return corners ``(n_points, ndim)`` and kind of one shape.

    napari's own ``data`` and ``shape_type`` list those of all shapes each time that they are asked.
    """
    try:
        shape: Any = getattr(layer, "_data_view").shapes[row]  # noqa: B009 - may be gone in a later napari
        return np.asarray(shape.data), str(shape.name)
    except AttributeError:
        return np.asarray(layer.data[row]), str(layer.shape_type[row])


def paint(layer: Shapes, edges: NDArray[np.float64], faces: NDArray[np.float64]) -> None:
    """Give every shape its outline and inside; what has its colours already costs nothing.

    napari's own setters take a step per shape, twice, and hand the mesh to the graphics card four times. Here
    the triangles are coloured at once and the layer tells of it once. A later napari that keeps its triangles
    otherwise gets its own setters.

    Parameters
    ----------
    layer
        With ``n`` shapes.
    edges, faces
        ``(n, 4)`` RGBA between 0 and 1.
    """
    if _has(layer.edge_color, edges) and _has(layer.face_color, faces):
        return
    if not _paint_at_once(layer, edges, faces):
        layer.edge_color, layer.face_color = edges, faces
        return
    layer.events.edge_color()
    layer.refresh(thumbnail=True, data_displayed=False, highlight=False, extent=False)


def _has(old: NDArray[np.float64], new: NDArray[np.float64]) -> bool:
    return old.shape == new.shape and bool(np.allclose(old, new, rtol=0, atol=1e-6))


def _paint_at_once(layer: Shapes, edges: NDArray[np.float64], faces: NDArray[np.float64]) -> bool:
    """Colour the triangles, face before edge in each shape; False where they are not kept in that way."""
    shapes: Any = getattr(layer, "_data_view", None)
    mesh: Any = getattr(shapes, "_mesh", None)
    try:
        counts = np.array([(s.face_triangles_count, s.edge_triangles_count) for s in shapes.shapes])
        starts, colours = mesh.triangles_index, mesh.triangles_colors
        kept = (np.array(getattr(shapes, name)) for name in ("_edge_color", "_face_color"))
        update = getattr(shapes, "_update_displayed")  # noqa: B009 - may be gone in a later napari
        fits = np.array_equal(np.diff(starts), counts.sum(axis=1)) and len(colours) == counts.sum()
        fits = fits and all(own.shape == edges.shape for own in kept)
    except (AttributeError, TypeError, ValueError):
        return False
    if not fits:
        return False
    both = np.stack([faces, edges], axis=1).reshape(-1, 4)
    colours[:] = np.repeat(both, counts.ravel(), axis=0)
    with shapes.batched_updates():
        getattr(shapes, "_edge_color")[:] = edges  # noqa: B009
        getattr(shapes, "_face_color")[:] = faces  # noqa: B009
        update()
    return True
