from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pytestqt.qtbot import QtBot

from napari_amil.core.base.events import Failed, Step
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.work import Task, Worker

PLAIN = (sys.executable, str(Path(__file__).parents[1] / "plain_worker.py"))
WAIT_MS = 30_000
Done = Callable[..., Any]


@pytest.fixture
def worker(qtbot: QtBot) -> Iterator[Worker]:
    worker = Worker(PLAIN)
    yield worker
    worker.close()


def _end_of(task: Task, qtbot: QtBot) -> str:
    """Return the name of the one signal that ended the task."""
    ends: list[str] = []
    task.finished.connect(lambda _: ends.append("finished"))
    task.errored.connect(ends.append)
    task.cancelled.connect(lambda: ends.append("cancelled"))
    qtbot.waitUntil(lambda: bool(ends), timeout=WAIT_MS)
    assert len(ends) == 1
    return ends[0]


def test_a_job_reports_and_ends_with_its_result(worker: Worker, done: Done) -> None:
    heard: list[object] = []
    task = worker.start("talk")
    task.warned.connect(heard.append)
    task.failed.connect(heard.append)
    result = done(task.finished)
    assert heard == ["careful", Failed("b.png", "it is empty.")]
    assert psutil.Process(result["pid"]).is_running()


def test_one_warm_process_does_one_job_after_the_other(worker: Worker, done: Done) -> None:
    first = done(worker.start("talk").finished)
    second = done(worker.start("talk").finished)
    assert worker.is_ready
    assert first["pid"] == second["pid"]


def test_an_error_of_the_job_is_its_sentence(worker: Worker, done: Done) -> None:
    assert done(worker.start("refuse").errored) == "The bag is empty; find cells first."
    assert done(worker.start("talk").finished)["pid"]


def test_cancel_is_at_once_and_the_next_job_finds_a_fresh_process(worker: Worker, done: Done) -> None:
    before = done(worker.start("talk").finished)["pid"]
    task = worker.start("slow")
    assert done(task.progress) == Step("wait", 1, 100, "Waiting")
    cancelled: list[bool] = []
    task.cancelled.connect(lambda: cancelled.append(True))
    began = time.monotonic()
    task.cancel()
    assert time.monotonic() - began < 0.2
    assert cancelled == [True]
    assert not psutil.pid_exists(before)
    assert done(worker.start("talk").finished)["pid"] != before


def test_a_job_that_waits_survives_the_cancel_of_the_one_before_it(worker: Worker, done: Done) -> None:
    slow, waiting = worker.start("slow"), worker.start("talk")
    done(slow.progress)
    assert done(waiting.finished, slow.cancel)["pid"]


def test_a_cancelled_job_can_be_cancelled_again(worker: Worker, done: Done) -> None:
    task = worker.start("slow")
    done(task.progress)
    task.cancel()
    task.cancel()
    assert done(worker.start("talk").finished)["pid"]


def test_cancel_before_the_job_was_sent_leaves_nothing_behind(worker: Worker, done: Done) -> None:
    worker.start("slow").cancel()
    assert done(worker.start("talk").finished)["pid"]


def test_a_killed_child_is_one_sentence_and_the_next_job_works(
    worker: Worker, qtbot: QtBot, done: Done
) -> None:
    said = _end_of(worker.start("crash"), qtbot)
    assert said.startswith("The worker process died (signal 9)")
    assert "\n" not in said
    assert done(worker.start("talk").finished)["pid"]


def test_a_child_that_leaves_is_quoted(worker: Worker, qtbot: QtBot) -> None:
    said = _end_of(worker.start("leave"), qtbot)
    assert "exit code 3" in said
    assert said.endswith("Its last words: cannot allocate 12 GiB")


def test_a_program_that_is_missing_is_one_sentence(qtbot: QtBot) -> None:
    worker = Worker(["/no/such/program"])
    said = _end_of(worker.start("talk"), qtbot)
    assert said.startswith("The worker process could not be started")
    worker.close()


def test_closing_ends_the_child_and_removes_its_files(qtbot: QtBot, worker: Worker, done: Done) -> None:
    folder = worker.new_folder()
    number = done(worker.start("talk").finished)["pid"]
    task = worker.start("slow")
    done(task.progress)
    done(task.cancelled, worker.close)
    assert not psutil.pid_exists(number)
    assert not folder.exists()


@pytest.mark.parametrize("job", ["talk", "refuse"])
def test_a_cancelled_job_is_never_heard_again(worker: Worker, qtbot: QtBot, job: str, done: Done) -> None:
    heard: list[object] = []
    task = worker.start(job)
    task.finished.connect(heard.append)
    task.errored.connect(heard.append)
    task.cancel()
    done(worker.start("talk").finished)
    assert heard == []


def test_a_job_runs_until_its_answer_is_read_and_can_be_cancelled_till_then(
    worker: Worker, qtbot: QtBot, done: Done
) -> None:
    bar = JobBar("Run", "Runs.")
    qtbot.addWidget(bar)
    may_end = threading.Event()

    def read(result: dict[str, Any]) -> int:
        assert may_end.wait(WAIT_MS / 1000)
        return int(result["pid"])

    bar.follow(worker.start("talk"), read)
    may_end.set()
    assert psutil.Process(done(bar.finished)).is_running()
    assert "careful" in bar.notice.text()
    may_end.clear()
    task = worker.start("talk")
    bar.follow(task, read)
    done(task.finished)
    assert bar.is_running
    with qtbot.assertNotEmitted(bar.finished, wait=100):
        bar.button.click()
        may_end.set()
    assert not bar.is_running
    assert "Cancelled" in bar.notice.text()
    bar.follow(worker.start("talk"), lambda result: result["no such thing"])
    assert "KeyError" in done(bar.errored)
