"""The one file that knows child processes: a warm worker, its progress, its errors, and a real Cancel.

Everything that needs torch runs in ``python -m napari_amil.worker``. The window writes one JSON object
a line to its standard input and reads one JSON object a line from its standard output.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QProcessEnvironment, QTimer, Signal

from napari_amil.core.base.events import Failed, Step, Warned, from_dict

COMMAND = (sys.executable, "-m", "napari_amil.worker")
_STDERR_KEPT = 8000
_LAST_WORDS = 200
_END_MS = 2000


class Task(QObject):
    """One job on its way: it ends with exactly one of ``finished``, ``errored`` and ``cancelled``."""

    progress = Signal(object)  # Step
    warned = Signal(str)
    failed = Signal(object)  # Failed
    finished = Signal(dict)
    errored = Signal(str)
    cancelled = Signal()

    def __init__(self, worker: Worker, request: dict[str, Any]) -> None:
        super().__init__(worker)
        self.request = request
        self._worker = worker

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
        self._last_words = ""
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
        self._process, self._last_words, self.is_ready = process, "", False
        process.start(self._command[0], list(self._command[1:]))

    def start(self, job: str, **fields: Any) -> Task:  # noqa: ANN401
        """Send a job to the child and return what follows it; jobs are done in the order of their starts."""
        number = next(self._ids)
        task = Task(self, {"id": number, "job": job, **fields})
        self._tasks[number] = task
        QTimer.singleShot(0, lambda: self._send(task))
        return task

    def cancel(self, task: Task) -> None:
        """End the child and start a fresh one, which gets the jobs that were waiting."""
        if self._tasks.pop(task.request["id"], None) is None:
            return
        self._drop_process()
        self.warm_up()
        for waiting in self._tasks.values():
            self._write(waiting.request)
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
        if task.request["id"] in self._tasks:
            self.warm_up()
            self._write(task.request)

    def _write(self, request: dict[str, Any]) -> None:
        if self._process is not None:
            self._process.write(json.dumps(request).encode() + b"\n")

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
            line = process.readLine().data().decode(errors="replace").strip()
            try:
                record = json.loads(line)
                kind = record["event"]
            except (ValueError, TypeError, KeyError):
                self._keep(line)
                continue
            self._on_record(kind, record)

    def _on_record(self, kind: str, record: dict[str, Any]) -> None:
        if kind == "Ready":
            self.is_ready = True
            self.ready.emit()
            return
        task = self._tasks.get(record.get("id", 0))
        if task is None:
            return
        if kind in {"Result", "Error"}:
            del self._tasks[record["id"]]
            if kind == "Result":
                task.finished.emit(record)
            else:
                task.errored.emit(str(record.get("message", "The worker gave no reason.")))
            task.deleteLater()
            return
        try:
            event = from_dict({name: value for name, value in record.items() if name != "id"})
        except (KeyError, TypeError):
            self._keep(f"unknown event {kind}")
            return
        _tell(task, event)

    def _on_stderr(self, process: QProcess) -> None:
        self._keep(process.readAllStandardError().data().decode(errors="replace"))

    def _keep(self, text: str) -> None:
        self._last_words = (self._last_words + text + "\n")[-_STDERR_KEPT:]

    def _on_start_error(self, process: QProcess, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and process is self._process:
            self._fail_all(f"The worker process could not be started: {process.errorString()}.")

    def _on_end(self, process: QProcess) -> None:
        """The child ended by itself: say so once to the job that was under way, and forget the process."""
        if process is not self._process:
            return
        self._on_output(process)
        self._on_stderr(process)
        self._fail_all(_obituary(process, self._last_words))

    def _fail_all(self, message: str) -> None:
        process, self._process, self.is_ready = self._process, None, False
        if process is not None:
            process.deleteLater()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.errored.emit(message)
            task.deleteLater()


def _tell(task: Task, event: object) -> None:
    """Hand one event to the signal that carries its kind."""
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
    environment.insert("PYTHONUNBUFFERED", "1")
    environment.insert("PYTHONIOENCODING", "utf-8")
    return environment


def _obituary(process: QProcess, last_words: str) -> str:
    """Return one sentence on why the child is gone and what to do."""
    lines = [line.strip() for line in last_words.splitlines() if line.strip()]
    said = f" Its last words: {lines[-1][-_LAST_WORDS:]}" if lines else ""
    if process.exitStatus() == QProcess.ExitStatus.CrashExit:
        return (
            f"The worker process died (signal {process.exitCode()}), perhaps for want of memory; close other "
            f"programs or use a smaller image, and try again.{said}"
        )
    return f"The worker process stopped by itself (exit code {process.exitCode()}); try again.{said}"


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
