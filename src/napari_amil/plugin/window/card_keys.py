"""Keys of the viewer that a panel takes while it lives."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QObject


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
