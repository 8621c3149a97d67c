"""Something slow that needs neither Qt nor a network, done in a thread; only the latest is heard of."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Signal

from napari_amil.core.errors import AmilError


class Background(QObject):
    """Calls one function after the other in threads of their own; it may be gone before they end."""

    finished = Signal(object)
    """What the latest function returned."""
    errored = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._number = 0
        _post()  # made here, in the thread of the window

    def start(self, function: Callable[[], Any]) -> None:
        """Call ``function``; what an earlier one still returns is dropped."""
        self._number += 1
        arguments = (function, self._number, weakref.ref(self))
        threading.Thread(target=_call, args=arguments, name="napari-amil background", daemon=True).start()

    def forget(self) -> None:
        """Drop what is still under way."""
        self._number += 1

    def receive(self, number: int, result: object, problem: str) -> None:
        """Tell what a function returned, if it is the latest."""
        if number != self._number:
            return
        if problem:
            self.errored.emit(problem)
        else:
            self.finished.emit(result)


class _Post(QObject):
    """Brings what threads say into the thread of the window.

    A thread must not emit a signal of an object that the window may delete at that moment, which is a
    segmentation fault; this one outlives every panel.
    """

    arrived = Signal(object, int, object, str)

    def __init__(self) -> None:
        super().__init__()
        self.arrived.connect(self._deliver)

    def _deliver(
        self, address: Callable[[], Background | None], number: int, result: object, problem: str
    ) -> None:
        background = address()
        if background is not None and isalive(background):  # type: ignore[no-untyped-call]
            background.receive(number, result, problem)


@cache
def _post() -> _Post:
    return _Post()


def _call(function: Callable[[], Any], number: int, address: Callable[[], Background | None]) -> None:
    result, problem = None, ""
    try:
        result = function()
    except AmilError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a thread that dies in silence leaves the panel busy for ever
        problem = f"The work stopped: {type(error).__name__}: {error}."
    _post().arrived.emit(address, number, result, problem)
