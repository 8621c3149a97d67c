"""Tasks of the worker process: start, progress, end and cancellation.

Everything that needs torch runs in ``python -P -m napari_amil.worker``; `napari_amil.worker.protocol` has
the requests and replies.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QProcessEnvironment, QTimer, Signal

from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.worker.protocol.lines import (
    MAX_LINE_BYTES,
    READY,
    Answer,
    ProtocolError,
    decode_answer,
    encode_request,
    reply_to,
)
from napari_amil.worker.protocol.messages import Request

PYTHON = (sys.executable, "-P")
"""A child interpreter that imports nothing from the folder it starts in, such as a ``torch.py`` there."""
COMMAND = (*PYTHON, "-m", "napari_amil.worker")
_UNREADABLE_BYTES = 2**20
"""Output without a line of the protocol after which the worker is given up."""
_STDERR_KEPT = 8000
_QUOTED_CHARACTERS = 200
_END_MS = 2000


class Task(QObject):
    """One job on its way: it ends with exactly one of ``finished``, ``errored`` and ``cancelled``."""

    progress = Signal(object)  # Step
    warned = Signal(str)
    failed = Signal(object)  # Failed
    finished = Signal(object)  # Reply
    errored = Signal(str)
    cancelled = Signal()

    def __init__(self, worker: Worker, number: int, request: Request) -> None:
        super().__init__(worker)
        self.number, self.request = number, request
        self._worker = worker

    @property
    def is_warm(self) -> bool:
        """Return whether the process that does the job has reported that it is ready."""
        return self._worker.is_ready

    def cancel(self) -> None:
        """Stop the job by ending the process that does it; the next one starts at once."""
        self._worker.cancel(self)


class Worker(QObject):
    """A warm child process that does one job after the other.

    Parameters
    ----------
    command
        Program and arguments of the child.
    parent
        Owner in the sense of Qt.
    """

    ready = Signal()

    def __init__(self, command: Sequence[str] = COMMAND, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._command = tuple(command)
        self._process: QProcess | None = None
        self._tasks: dict[int, Task] = {}
        self._ids = itertools.count(1)
        self._folder = tempfile.TemporaryDirectory(prefix="napari-amil-", ignore_cleanup_errors=True)
        self._last_output = ""
        self._unreadable_bytes = 0
        self.is_ready = False

    def new_folder(self) -> Path:
        """Return an empty folder for the files of one job; it goes when the worker is closed."""
        return Path(tempfile.mkdtemp(dir=self._folder.name))

    def warm_up(self) -> None:
        """Start the child if none runs, so that the first job need not wait for it."""
        if self._process is not None:
            return
        process = QProcess(self)
        process.setProcessEnvironment(child_environment())
        process.readyReadStandardOutput.connect(lambda: self._on_output(process))
        process.readyReadStandardError.connect(lambda: self._on_stderr(process))
        process.finished.connect(lambda *_: self._on_end(process))
        process.errorOccurred.connect(lambda error: self._on_start_error(process, error))
        self._process, self._last_output, self.is_ready = process, "", False
        self._unreadable_bytes = 0
        process.start(self._command[0], list(self._command[1:]))

    def start(self, request: Request) -> Task:
        """Send a request to the child and return its task; tasks are done in the order of their starts."""
        task = Task(self, next(self._ids), request)
        self._tasks[task.number] = task
        QTimer.singleShot(0, lambda: self._send(task))
        return task

    def cancel(self, task: Task) -> None:
        """End the child and start a fresh one, which gets the jobs that were waiting."""
        if self._tasks.pop(task.number, None) is None:
            return
        self._drop_process()
        self.warm_up()
        for waiting in list(self._tasks.values()):
            self._write(waiting)
        task.cancelled.emit()
        task.deleteLater()

    def close(self) -> None:
        """End the child and remove its files; jobs that were under way count as cancelled."""
        tasks, self._tasks = list(self._tasks.values()), {}
        self._drop_process()
        for task in tasks:
            task.cancelled.emit()
        self._folder.cleanup()

    def _send(self, task: Task) -> None:
        if task.number in self._tasks:
            self.warm_up()
            self._write(task)

    def _write(self, task: Task) -> None:
        try:
            line = encode_request(task.number, task.request)
        except ProtocolError as error:
            self._end(task, f"This is too much for one request: {error}")
            return
        if self._process is not None:
            self._process.write(line)

    def _drop_process(self) -> None:
        """Kill the child; nothing that it still says is heard."""
        process, self._process, self.is_ready = self._process, None, False
        if process is None:
            return
        for signal in (
            process.readyReadStandardOutput,
            process.readyReadStandardError,
            process.errorOccurred,
        ):
            signal.disconnect()
        process.finished.disconnect()
        process.kill()
        process.waitForFinished(_END_MS)
        process.deleteLater()

    def _on_output(self, process: QProcess) -> None:
        while self._process is process and process.canReadLine():
            line = process.readLine().data()
            try:
                answer = decode_answer(line)
            except ProtocolError as error:
                self._keep(line[:_STDERR_KEPT].decode(errors="replace").strip() or str(error))
                self._unreadable_bytes += len(line)
                self._give_up_if(process, self._unreadable_bytes > _UNREADABLE_BYTES)
                continue
            self._unreadable_bytes = 0
            self._on_answer(answer)
        self._give_up_if(process, process.bytesAvailable() > MAX_LINE_BYTES)

    def _give_up_if(self, process: QProcess, is_noise: bool) -> None:
        """End a child that writes something else than the protocol."""
        if is_noise and self._process is process:
            self._drop_process()
            self._fail_all("The worker process wrote something that is no answer, and was ended; try again.")

    def _on_answer(self, answer: Answer) -> None:
        if answer == READY:
            self.is_ready = True
            self.ready.emit()
            return
        task, content = self._tasks.get(answer.number), answer.content
        if task is None:
            if isinstance(content, str):
                self._keep(content)
        elif isinstance(content, str):
            self._end(task, content)
        elif isinstance(content, dict):
            self._finish(task, content)
        elif content is not None:
            _emit(task, content)

    def _finish(self, task: Task, fields: dict[str, object]) -> None:
        try:
            reply = reply_to(task.request, fields)
        except ProtocolError as error:
            self._end(task, str(error))
            return
        del self._tasks[task.number]
        task.finished.emit(reply)
        task.deleteLater()

    def _end(self, task: Task, message: str) -> None:
        del self._tasks[task.number]
        task.errored.emit(message)
        task.deleteLater()

    def _on_stderr(self, process: QProcess) -> None:
        self._keep(process.readAllStandardError().data().decode(errors="replace"))

    def _keep(self, text: str) -> None:
        self._last_output = (self._last_output + text + "\n")[-_STDERR_KEPT:]

    def _on_start_error(self, process: QProcess, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and process is self._process:
            self._fail_all(f"The worker process could not be started: {process.errorString()}.")

    def _on_end(self, process: QProcess) -> None:
        """Report a child that ended by itself once to the job that was under way, and forget the process."""
        if process is not self._process:
            return
        self._on_output(process)
        self._on_stderr(process)
        self._fail_all(_exit_message(process, self._last_output))

    def _fail_all(self, message: str) -> None:
        process, self._process, self.is_ready = self._process, None, False
        if process is not None:
            process.deleteLater()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.errored.emit(message)
            task.deleteLater()


def _emit(task: Task, event: Event) -> None:
    """Emit the signal of an event's kind."""
    if isinstance(event, Step):
        task.progress.emit(event)
    elif isinstance(event, Warned):
        task.warned.emit(event.message)
    elif isinstance(event, Failed):
        task.failed.emit(event)


def child_environment() -> QProcessEnvironment:
    """Return the environment of the child: ours, with output that is not held back."""
    environment = QProcessEnvironment.systemEnvironment()
    for name, value in os.environ.items():
        environment.insert(name, value)
    environment.insert("PYTHONSAFEPATH", "1")  # for its own children too
    environment.insert("PYTHONUNBUFFERED", "1")
    environment.insert("PYTHONIOENCODING", "utf-8")
    return environment


def _exit_message(process: QProcess, last_words: str) -> str:
    """Return one sentence on why the child is gone and what to do."""
    lines = [line.strip() for line in last_words.splitlines() if line.strip()]
    last_output = f" Its last output: {lines[-1][-_QUOTED_CHARACTERS:]}" if lines else ""
    if process.exitStatus() == QProcess.ExitStatus.CrashExit:
        return (
            f"The worker process died (signal {process.exitCode()}), perhaps for want of memory; close other "
            f"programs or use a smaller image, and try again.{last_output}"
        )
    return f"The worker process stopped by itself (exit code {process.exitCode()}); try again.{last_output}"


def shared_worker() -> Worker:
    """Return the one worker of this window, warming up; every panel uses it."""
    application = QCoreApplication.instance()
    if application is None:
        raise RuntimeError("There is no Qt application yet; open a viewer first.")
    worker = next(iter(application.findChildren(Worker)), None)
    if worker is None:
        worker = Worker(parent=application)
        application.aboutToQuit.connect(worker.close)
        atexit.register(worker.close)  # a script may end without quitting
    worker.warm_up()
    return worker
