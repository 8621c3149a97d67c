"""Something slow that needs neither Qt nor a network, done in a thread; only the latest is heard of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_amil.core.errors import AmilError


class Background(QObject):
    """Calls one function after the other in threads of their own."""

    finished = Signal(object)
    """What the latest function returned."""
    errored = Signal(str)
    _ended = Signal(int, object, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._number = 0
        self._ended.connect(self._on_ended)

    def start(self, function: Callable[[], Any]) -> None:
        """Call ``function``; what an earlier one still returns is dropped."""
        self._number += 1
        arguments = (function, self._number, self._ended.emit)
        threading.Thread(target=_call, args=arguments, name="napari-amil background", daemon=True).start()

    def forget(self) -> None:
        """Drop what is still under way."""
        self._number += 1

    def _on_ended(self, number: int, result: object, problem: str) -> None:
        if number != self._number:
            return
        if problem:
            self.errored.emit(problem)
        else:
            self.finished.emit(result)


def _call(function: Callable[[], Any], number: int, answer: Callable[[int, object, str], None]) -> None:
    result, problem = None, ""
    try:
        result = function()
    except AmilError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a thread that dies in silence leaves the panel busy for ever
        problem = f"The work stopped: {type(error).__name__}: {error}."
    try:
        answer(number, result, problem)
    except RuntimeError:  # the panel was closed meanwhile
        return
