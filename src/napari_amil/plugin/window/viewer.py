"""The viewer as panels use it: without napari's proxy, one object per viewer, keys of a panel."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QObject

T = TypeVar("T")


def unwrapped(viewer: Any) -> ViewerModel:  # noqa: ANN401 - a viewer, its model, or napari's proxy of either
    """Return the viewer behind the proxy that napari hands to panels.

    Through the proxy, one layer is never the same object twice.
    """
    found: ViewerModel = getattr(viewer, "__wrapped__", viewer)
    return found


class PerViewer(Generic[T]):
    """One object for each viewer, made on first use and dropped with the viewer.

    Parameters
    ----------
    make
        Makes the object of a viewer.
    end
        Called with the object when its viewer is gone; not at the end of the program, when Qt is gone too.
    """

    def __init__(self, make: Callable[[ViewerModel], T], end: Callable[[T], None] | None = None) -> None:
        self._make, self._end = make, end
        self._made: dict[int, T] = {}

    def __call__(self, viewer: Any) -> T:  # noqa: ANN401 - see `unwrapped`
        """Return the object of ``viewer``; every caller gets the same one."""
        viewer = unwrapped(viewer)
        key = id(viewer)
        if key not in self._made:
            self._made[key] = self._make(viewer)
            weakref.finalize(viewer, self._forget, key).atexit = False
        return self._made[key]

    def __contains__(self, key: int) -> bool:
        """Return whether there is an object of the viewer with this ``id``."""
        return key in self._made

    def _forget(self, key: int) -> None:
        made = self._made.pop(key, None)
        if made is not None and self._end is not None:
            self._end(made)


def take_key(widget: QObject, viewer: ViewerModel, key: str, slot: Callable[[], None]) -> None:
    """Call the method ``slot`` of ``widget`` when ``key`` is pressed on the canvas, while the widget lives.

    Of two panels that want the same key the later one has it.
    """
    weak = weakref.WeakMethod(slot)

    def pressed(_: ViewerModel) -> None:
        living = weak()
        if living is not None:
            living()

    keymap, bound = viewer.keymap, coerce_keybinding(key)
    viewer.bind_key(key, pressed, overwrite=True)

    def give_back() -> None:
        if keymap.get(bound) is pressed:
            del keymap[bound]

    widget.destroyed.connect(give_back)
