"""Slow work without Qt or networks, done in a thread; only the latest result is delivered."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Signal

from napari_amil.core.base.errors import AmilError

_is_alive: Callable[[QObject], bool] = isalive


class Background(QObject):
    """Calls one function after the other in threads of their own; it may be gone before they end."""

    finished = Signal(object)
    """Result of the latest function."""
    errored = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._number = 0
        self._mail = Mail(self)

    def start(self, function: Callable[[], Any]) -> None:
        """Call ``function``; what an earlier one still returns is dropped."""
        self._number += 1
        arguments = (function, self._number, self._mail)
        threading.Thread(target=_call, args=arguments, name="napari-amil background", daemon=True).start()

    def forget(self) -> None:
        """Drop unfinished work."""
        self._number += 1

    def receive(self, number: int, result: object, problem: str) -> None:
        """Emit the result of a function if it is the latest."""
        if number != self._number:
            return
        if problem:
            self.errored.emit(problem)
        else:
            self.finished.emit(result)


class Mail:
    """Delivery from a thread to an object of the window, which may be deleted at any moment.

    A thread must not emit a signal of an object that is being deleted, which is a segmentation fault.
    So what it says goes through one object that outlives every panel.

    Parameters
    ----------
    owner
        Object to deliver to; made in the thread of the window.
    """

    def __init__(self, owner: QObject) -> None:
        self._owner = weakref.ref(owner)
        self._post = _post()

    def send(self, call: Callable[[Any], None]) -> None:
        """Have ``call(owner)`` called in the thread of the window, if there still is an owner."""
        self._post.arrived.emit(self._owner, call)


class _Post(QObject):
    arrived = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self.arrived.connect(self._deliver)

    def _deliver(self, address: Callable[[], QObject | None], call: Callable[[Any], None]) -> None:
        owner = address()
        if owner is not None and _is_alive(owner):
            call(owner)


@cache
def _post() -> _Post:
    return _Post()


def _call(function: Callable[[], Any], number: int, mail: Mail) -> None:
    result, problem = None, ""
    try:
        result = function()
    except AmilError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a thread that dies in silence leaves the panel busy for ever
        problem = f"The work stopped: {type(error).__name__}: {error}."
    mail.send(lambda background: background.receive(number, result, problem))
