"""The folder of a run: one process works in it, events are logged, and files pause or stop the work."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import (
    EVENTS_FILE,
    PAUSE_FILE,
    PROCESS_FILE,
    STOP_FILE,
    Ended,
    EpochReport,
    Event,
    Step,
    to_dict,
)
from napari_amil.core.base.process import find_process, write_process

Result = TypeVar("Result")
_SECONDS_BETWEEN_STEPS = 1.0
_WAIT_S = 0.1


def in_run_folder(work: Generator[Event, None, Result], out: Path) -> Generator[Event, None, Result]:
    """Do ``work`` as the one process of a run folder (`occupying`), and note its events (`noting`).

    Files ``stop`` and ``pause`` that an earlier process left are removed first.

    Raises
    ------
    AmilError
        If another process is working in the folder.
    """
    with occupying(out):
        for left_over in (STOP_FILE, PAUSE_FILE):
            (out / left_over).unlink(missing_ok=True)
        return (yield from noting(work, out))


@contextmanager
def occupying(out: Path) -> Iterator[None]:
    """Note in ``process.json`` that this process works in the folder, as long as the block runs.

    Raises
    ------
    AmilError
        If another process that is alive works there.
    """
    file = out / PROCESS_FILE
    other = find_process(file)
    if other is not None and other.pid not in {os.getpid(), os.getppid()}:  # a starter may have noted itself
        raise AmilError(
            f"Another process (number {other.pid}) is working in '{out}'; "
            "wait for it, or choose another folder."
        )
    write_process(file, psutil.Process())
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def noting(work: Generator[Event, None, Result], out: Path) -> Generator[Event, None, Result]:
    """Pass on what ``work`` says and note it in ``events.jsonl``; wait while a file ``pause`` is there.

    Each line has the ``time`` in seconds since 1970. Of steps at most one a second is noted. The last
    line is `Ended`; if it is missing the process was killed.
    """
    _mend(out / EVENTS_FILE)
    with (out / EVENTS_FILE).open("a", encoding="utf-8") as log:
        noted = -_SECONDS_BETWEEN_STEPS
        try:
            while True:
                event = next(work)
                if not isinstance(event, Step) or time.monotonic() - noted >= _SECONDS_BETWEEN_STEPS:
                    noted = time.monotonic()
                    _note(event, log)
                yield event
                _wait(out)
        except StopIteration as stop:
            _note(Ended(), log)
            result: Result = stop.value
            return result
        except Exception as error:
            with suppress(OSError):  # of a full disk, which must not hide what happened
                _note(Ended("failed", str(error) or type(error).__name__), log)
            raise


def _mend(file: Path) -> None:
    """End the last line of a log whose writer was killed in the middle of it."""
    if file.exists() and (text := file.read_bytes()) and not text.endswith(b"\n"):
        with file.open("ab") as log:
            log.write(b"\n")


def _note(event: Event, log: IO[str]) -> None:
    log.write(json.dumps({"time": round(time.time(), 3), **to_dict(event)}) + "\n")
    log.flush()


def _wait(out: Path) -> None:
    """Return when no file ``pause`` is in the folder, or one called ``stop`` is."""
    while (out / PAUSE_FILE).exists() and not (out / STOP_FILE).exists():
        time.sleep(_WAIT_S)


def logged(work: Generator[Event, None, Any], out: Path) -> Generator[Event, None, Any]:
    """Pass on the events of one training of several and append its epochs to its own ``events.jsonl``."""
    with (out / EVENTS_FILE).open("a", encoding="utf-8") as log:
        while True:
            try:
                event = next(work)
            except StopIteration as stop:
                return stop.value
            if isinstance(event, EpochReport):
                log.write(json.dumps(to_dict(event)) + "\n")
                log.flush()
            yield event
