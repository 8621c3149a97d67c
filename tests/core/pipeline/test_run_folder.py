"""One process a run folder, everything said is noted, and a file makes the work wait."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import EpochReport, Event, Step, drain
from napari_amil.core.base.process import find_process
from napari_amil.core.pipeline.run_folder import noting, occupying


def work(n: int = 3) -> Generator[Event, None, str]:
    for number in range(n):
        yield Step("training", number, n)
        yield EpochReport(number, n, 0.5)
    return "done"


def noted(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_everything_but_a_flood_of_steps_is_noted_with_its_time(tmp_path: Path) -> None:
    assert drain(noting(work(), tmp_path)) == "done"
    lines = noted(tmp_path)
    kinds = [line["event"] for line in lines]
    assert kinds == ["Step", "EpochReport", "EpochReport", "EpochReport", "Ended"]
    times = [float(str(line["time"])) for line in lines]
    assert times == sorted(times)
    assert lines[-1]["outcome"] == "finished"


def test_the_sentence_of_a_failure_is_noted(tmp_path: Path) -> None:
    def broken() -> Generator[Event, None, None]:
        yield Step("load", 0, 1)
        raise AmilError("The disk is full.")

    with pytest.raises(AmilError):
        drain(noting(broken(), tmp_path))
    assert noted(tmp_path)[-1]["outcome"] == "failed"
    assert noted(tmp_path)[-1]["reason"] == "The disk is full."


def test_work_waits_while_a_file_called_pause_is_there(tmp_path: Path) -> None:
    running = noting(work(), tmp_path)
    next(running)
    (tmp_path / "pause").touch()
    went_on = threading.Event()

    def take_the_next() -> None:
        next(running)
        went_on.set()

    thread = threading.Thread(target=take_the_next)
    thread.start()
    assert not went_on.wait(0.4)
    (tmp_path / "pause").unlink()
    assert went_on.wait(30)
    thread.join()


def test_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    for name in ("pause", "stop"):
        (tmp_path / name).touch()
    assert drain(noting(work(), tmp_path)) == "done"


@pytest.fixture
def other() -> Iterator[psutil.Process]:
    """Another process that is alive."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield psutil.Process(process.pid)
        process.kill()


def note(process: psutil.Process, out: Path, later: float = 0.0) -> None:
    record = {"pid": process.pid, "created": process.create_time() + later}
    (out / "process.json").write_text(json.dumps(record))


def test_a_folder_in_which_another_process_works_is_refused(tmp_path: Path, other: psutil.Process) -> None:
    note(other, tmp_path)
    with pytest.raises(AmilError, match=rf"number {other.pid}\) is working in"), occupying(tmp_path):
        pass
    assert find_process(tmp_path / "process.json") == other


def test_a_dead_process_and_a_number_that_was_given_anew_do_not_count(
    tmp_path: Path, other: psutil.Process
) -> None:
    note(other, tmp_path, later=-100)
    with occupying(tmp_path):
        assert find_process(tmp_path / "process.json") == psutil.Process()
    assert not (tmp_path / "process.json").exists()
    (tmp_path / "process.json").write_text("{")
    assert find_process(tmp_path / "process.json") is None
