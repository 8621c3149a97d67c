"""What is done in a thread is heard of in the window, unless the one who asked is gone."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.window.background import Background


def _delete(owner: QObject) -> None:
    owner.deleteLater()
    QCoreApplication.sendPostedEvents(owner, QEvent.Type.DeferredDelete)


def test_only_the_latest_is_heard_of_and_in_the_thread_of_the_window(qtbot: QtBot) -> None:
    background, heard = Background(), []
    go = threading.Event()
    background.finished.connect(lambda result: heard.append((result, threading.current_thread())))
    background.start(go.wait)
    with qtbot.waitSignal(background.finished, timeout=60_000):
        background.start(lambda: "latest")
    go.set()
    background.start(lambda: "dropped")
    background.forget()
    with qtbot.waitSignal(background.finished, timeout=60_000):
        background.start(lambda: "last")
    assert heard == [("latest", threading.main_thread()), ("last", threading.main_thread())]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(AmilError("It is full."), "It is full."), (ValueError("2"), "The work stopped: ValueError: 2.")],
)
def test_a_failure_is_a_sentence(qtbot: QtBot, error: Exception, sentence: str) -> None:
    background = Background()

    def fail() -> Any:
        raise error

    with qtbot.waitSignal(background.errored, timeout=60_000) as said:
        background.start(fail)
    assert said.args == [sentence]


def test_whoever_asked_may_be_deleted_while_threads_end(qtbot: QtBot) -> None:
    """Emitting a signal of an object that is deleted at that moment would end the process."""
    n_threads = threading.active_count()
    for number in range(300):
        owner = QObject()
        Background(owner).start(lambda number=number: time.sleep(number % 7 * 1e-4))
        time.sleep(number % 5 * 1e-4)
        _delete(owner)
    qtbot.waitUntil(lambda: threading.active_count() <= n_threads, timeout=60_000)
    alive = Background()
    with qtbot.waitSignal(alive.finished, timeout=60_000) as said:
        alive.start(lambda: "here")
    assert said.args == ["here"]
