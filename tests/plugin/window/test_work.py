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
from napari_amil.worker.protocol.messages import Info, ModelCard

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
    task = worker.start(Info(bundle="talk"))
    task.warned.connect(heard.append)
    task.failed.connect(heard.append)
    result = done(task.finished)
    assert heard == ["careful", Failed("b.png", "it is empty.")]
    assert psutil.Process(result.card["pid"]).is_running()


def test_one_warm_process_does_one_job_after_the_other(worker: Worker, done: Done) -> None:
    first = done(worker.start(Info(bundle="talk")).finished)
    second = done(worker.start(Info(bundle="talk")).finished)
    assert worker.is_ready
    assert first.card["pid"] == second.card["pid"]


def test_an_error_of_the_job_is_its_sentence(worker: Worker, done: Done) -> None:
    assert done(worker.start(Info(bundle="refuse")).errored) == "The bag is empty; find cells first."
    assert done(worker.start(Info(bundle="talk")).finished).card["pid"]


def test_cancel_is_at_once_and_the_next_job_finds_a_fresh_process(worker: Worker, done: Done) -> None:
    before = done(worker.start(Info(bundle="talk")).finished).card["pid"]
    task = worker.start(Info(bundle="slow"))
    assert done(task.progress) == Step("wait", 1, 100, "Waiting")
    cancelled: list[bool] = []
    task.cancelled.connect(lambda: cancelled.append(True))
    began = time.monotonic()
    task.cancel()
    assert time.monotonic() - began < 0.2
    assert cancelled == [True]
    assert not psutil.pid_exists(before)
    assert done(worker.start(Info(bundle="talk")).finished).card["pid"] != before


def test_a_job_that_waits_survives_the_cancel_of_the_one_before_it(worker: Worker, done: Done) -> None:
    slow, waiting = worker.start(Info(bundle="slow")), worker.start(Info(bundle="talk"))
    done(slow.progress)
    assert done(waiting.finished, slow.cancel).card["pid"]


def test_a_cancelled_job_can_be_cancelled_again(worker: Worker, done: Done) -> None:
    task = worker.start(Info(bundle="slow"))
    done(task.progress)
    task.cancel()
    task.cancel()
    assert done(worker.start(Info(bundle="talk")).finished).card["pid"]


def test_cancel_before_the_job_was_sent_leaves_nothing_behind(worker: Worker, done: Done) -> None:
    worker.start(Info(bundle="slow")).cancel()
    assert done(worker.start(Info(bundle="talk")).finished).card["pid"]


def test_a_killed_child_is_one_sentence_and_the_next_job_works(
    worker: Worker, qtbot: QtBot, done: Done
) -> None:
    said = _end_of(worker.start(Info(bundle="crash")), qtbot)
    assert said.startswith("The worker process died (signal 9)")
    assert "\n" not in said
    assert done(worker.start(Info(bundle="talk")).finished).card["pid"]


def test_a_child_that_leaves_is_quoted(worker: Worker, qtbot: QtBot) -> None:
    said = _end_of(worker.start(Info(bundle="leave")), qtbot)
    assert "exit code 3" in said
    assert said.endswith("Its last output: cannot allocate 12 GiB")


def test_a_program_that_is_missing_is_one_sentence(qtbot: QtBot) -> None:
    worker = Worker(["/no/such/program"])
    said = _end_of(worker.start(Info(bundle="talk")), qtbot)
    assert said.startswith("The worker process could not be started")
    worker.close()


def test_closing_ends_the_child_and_removes_its_files(qtbot: QtBot, worker: Worker, done: Done) -> None:
    folder = worker.new_folder()
    number = done(worker.start(Info(bundle="talk")).finished).card["pid"]
    task = worker.start(Info(bundle="slow"))
    done(task.progress)
    done(task.cancelled, worker.close)
    assert not psutil.pid_exists(number)
    assert not folder.exists()


@pytest.mark.parametrize("job", ["talk", "refuse"])
def test_a_cancelled_job_is_never_heard_again(worker: Worker, qtbot: QtBot, job: str, done: Done) -> None:
    heard: list[object] = []
    task = worker.start(Info(bundle=job))
    task.finished.connect(heard.append)
    task.errored.connect(heard.append)
    task.cancel()
    done(worker.start(Info(bundle="talk")).finished)
    assert heard == []


def test_a_job_runs_until_its_answer_is_read_and_can_be_cancelled_till_then(
    worker: Worker, qtbot: QtBot, done: Done
) -> None:
    bar = JobBar("Run", "Runs.")
    qtbot.addWidget(bar)
    may_end = threading.Event()

    def read(result: ModelCard) -> int:
        assert may_end.wait(WAIT_MS / 1000)
        return int(result.card["pid"])

    bar.follow(worker.start(Info(bundle="talk")), read)
    may_end.set()
    assert psutil.Process(done(bar.finished)).is_running()
    assert "careful" in bar.notice.text()
    may_end.clear()
    task = worker.start(Info(bundle="talk"))
    bar.follow(task, read)
    done(task.finished)
    assert bar.is_running
    with qtbot.assertNotEmitted(bar.finished, wait=100):
        bar.button.click()
        may_end.set()
    assert not bar.is_running
    assert "Cancelled" in bar.notice.text()
    bar.follow(worker.start(Info(bundle="talk")), lambda result: result.card["no such thing"])
    assert "KeyError" in done(bar.errored)


@pytest.mark.parametrize("noise", ["no newline", "garbage"])
def test_a_child_that_writes_anything_else_is_ended_with_a_sentence(
    worker: Worker, qtbot: QtBot, done: Done, noise: str
) -> None:
    before = psutil.Process().memory_info().rss
    message = _end_of(worker.start(Info(bundle=noise)), qtbot)
    assert message == "The worker process wrote something that is no answer, and was ended; try again."
    assert psutil.Process().memory_info().rss - before < 150 * 2**20
    assert done(worker.start(Info(bundle="talk")).finished).card["pid"]


def test_a_reply_with_a_field_of_another_type_is_an_error(worker: Worker, qtbot: QtBot) -> None:
    message = _end_of(worker.start(Info(bundle="wrong reply")), qtbot)
    assert message == "The reply to 'Info' cannot be used: 'settings': Input should be an object."


def test_a_module_in_the_working_folder_is_not_imported(
    qtbot: QtBot, tmp_path: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"open({str(tmp_path / 'executed')!r}, 'w')\nraise SystemExit(9)"
    for name in ("torch", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    worker = Worker()
    try:
        assert done(worker.start(Info()).finished).classes
    finally:
        worker.close()
    assert not (tmp_path / "executed").exists()
