"""A button that starts or cancels a job of the worker, with its progress and notices."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_amil.core.base.events import Failed, Step
from napari_amil.plugin.window.background import Background
from napari_amil.plugin.window.theme import NOTICE, wrapped
from napari_amil.plugin.window.work import Task
from napari_amil.worker.protocol.messages import Reply


class JobBar(QWidget):
    """Button, progress and notices of one kind of job."""

    wanted = Signal()
    """The user pressed the button while nothing ran."""
    finished = Signal(object)
    """Reply of the job, or the value read from it."""
    errored = Signal(str)
    following = Signal(object)
    """A `Task` has begun."""
    cancelled = Signal()

    def __init__(self, text: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = text
        self._task: Task | None = None
        self._read: Callable[[Any], Any] | None = None
        self._stop: Callable[[], None] | None
        self._stage, self._stop = "", None
        self._reader = Background(self)
        self._reader.finished.connect(self._on_read)
        self._reader.errored.connect(self._on_errored)
        self._warnings: list[str] = []
        self._started = 0.0
        self.button = QPushButton(text)
        self.button.setToolTip(tip)
        self.button.setMinimumHeight(32)
        self.button.setStyleSheet("QPushButton { font-weight: 600; }")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.doing = wrapped()
        self.notice = wrapped()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.button, self.bar, self.doing, self.notice):
            layout.addWidget(widget)
        self.button.clicked.connect(self._on_clicked)
        self._show_idle()
        self.say("")

    @property
    def is_running(self) -> bool:
        """Return whether a job is under way."""
        return self._task is not None

    def follow(self, task: Task, read: Callable[[Any], Any] | None = None) -> None:
        """Show the progress of ``task`` until it ends.

        Parameters
        ----------
        read
            Called in a thread with the answer of the task; ``finished`` emits its result.
        """
        self._read = read
        self._begin(task)
        task.warned.connect(self._on_warned)
        task.failed.connect(self._on_failed)
        task.finished.connect(self._on_finished)
        task.errored.connect(self._on_errored)
        task.cancelled.connect(self._on_cancelled)
        self.following.emit(task)

    def accompany(self, task: Task, stage: str, cancel: Callable[[], None]) -> None:
        """Show the progress of a task that another bar follows, until `rest` is called.

        Parameters
        ----------
        stage
            Said before each step, such as "Step 1 of 2".
        cancel
            Called when the user cancels.
        """
        self._begin(task)
        self._stage, self._stop = stage, cancel

    def rest(self) -> None:
        """Show the button as idle."""
        self._show_idle()

    def set_text(self, text: str) -> None:
        """Rename the button."""
        self._text = text
        if not self.is_running:
            self.button.setText(text)

    def _begin(self, task: Task) -> None:
        self._task = task
        self._warnings, self._started = [], time.monotonic()
        task.progress.connect(self._on_progress)
        self.button.setText("Cancel")
        self.bar.setRange(0, 0)
        self.bar.show()
        self.doing.setText("Starting …" if task.is_warm else "Loading the networks (once per session) …")
        self.doing.show()
        self.say("")

    def cancel(self) -> None:
        """Stop the job that is under way, if any."""
        if self._stop is not None:
            self._stop()
        elif self._is_reading:
            self._reader.forget()
            self._on_cancelled()
        elif self._task is not None:
            self._task.cancel()

    def say(self, text: str, kind: str = "") -> None:
        """Show a sentence below the button: plain, as ``warning`` or as ``error``; empty hides it."""
        self.notice.setStyleSheet(f"QLabel {{ {NOTICE[kind]} }}")
        self.notice.setText(text)
        self.notice.setVisible(bool(text))

    def _on_clicked(self) -> None:
        if self.is_running:
            self.cancel()
        else:
            self.wanted.emit()

    def _on_progress(self, step: Step) -> None:
        self.bar.setRange(0, max(step.total, 0))
        self.bar.setValue(step.done)
        seconds = int(time.monotonic() - self._started)
        clock = f"  ({seconds} s)" if seconds >= 3 else ""
        stage = f"{self._stage}: " if self._stage else ""
        self.doing.setText(f"{stage}{step.message or step.stage} …{clock}")

    def _on_warned(self, message: str) -> None:
        self._warnings.append(message)

    def _on_failed(self, failure: Failed) -> None:
        self._warnings.append(f"{failure.source}: {failure.reason}")

    def _on_finished(self, result: Reply) -> None:
        if self._read is None:
            self._on_read(result)
        else:
            self._is_reading = True
            self._reader.start(partial(self._read, result))

    def _on_read(self, answer: object) -> None:
        self._show_idle()
        if self._warnings:
            self.say("\n".join(self._warnings), "warning")
        self.finished.emit(answer)

    def _on_errored(self, message: str) -> None:
        self._show_idle()
        self.say(message, "error")
        self.errored.emit(message)

    def _on_cancelled(self) -> None:
        self._show_idle()
        self.say("Cancelled; nothing was changed.")
        self.cancelled.emit()

    def _show_idle(self) -> None:
        self._task, self._read, self._is_reading = None, None, False
        self._stage, self._stop = "", None
        self.button.setText(self._text)
        self.bar.hide()
        self.doing.hide()
