"""Run the trials of a study one after the other or in several processes, and estimate the time left."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from typing import Any

import numpy as np
import torch

from napari_amil.core.base.device import one_thread_each
from napari_amil.core.base.events import EpochReport, Event, Failed, Step, Warned
from napari_amil.core.instances.executor import (
    SERIAL,
    Executor,
    Finished,
    Item,
    Message,
    Value,
    messages_of,
)
from napari_amil.core.studies.trials import ENCODER, Group, TrialEvent, Unit, work_on

_SHOWN_STAGES = frozenset({"calibration", "embedding"})
"""Stages of a training that are slow and have no epochs."""


def running(groups: Sequence[Group], n_jobs: int, device: str) -> Generator[Event, None, None]:
    """Do the work in ``n_jobs`` processes; yield progress and the time left.

    With one job it is done in this process. When the generator is closed or interrupted the
    processes end; what was written stays, and is not done again.
    """
    progress = _Progress(groups, n_jobs)
    yield progress.step("")
    executor: Executor = SERIAL if n_jobs == 1 else ProcessExecutor(n_jobs)
    for number, message in executor.run(partial(work_on, device=device), groups):
        if isinstance(message, Finished):
            message.result()
        else:
            yield from progress.heard(number, message)


@dataclass(frozen=True)
class ProcessExecutor:
    """Runs the trials of a study in ``n_jobs`` processes of one thread each."""

    n_jobs: int

    def run(
        self, work: Callable[[Item], Generator[Message, None, Value]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Message | Finished[Value]]]:
        """Yield the messages of the processes as they come, but for steps of no interest."""
        context = get_context("spawn")
        before = set(active_children())
        heard = context.Queue()
        with one_thread_each():
            pool = ProcessPoolExecutor(self.n_jobs, context, _begin, (heard,))
            waiting: set[Future[None]] = {
                pool.submit(_work, number, item, work) for number, item in enumerate(items)
            }
        try:
            while waiting or not heard.empty():
                try:
                    yield heard.get(timeout=0.2)
                except queue.Empty:
                    done = {future for future in waiting if future.done()}
                    waiting -= done
                    for future in done:
                        future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(active_children()) - before:
                process.terminate()


_say: Callable[[tuple[int, Any]], None]


def _begin(heard: Any) -> None:  # noqa: ANN401 - a queue of a context has no public type
    """Prepare a process: one thread, deaf to Ctrl-C, which its parent handles."""
    global _say
    _say = heard.put
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _work(number: int, item: Item, work: Callable[[Item], Generator[Message, None, Value]]) -> None:
    """Work on an item and send messages to the parent; end when the parent is gone."""
    parent = os.getppid()
    for message in messages_of(work, item):
        if os.getppid() != parent:
            os._exit(1)  # the parent was killed
        if isinstance(message, Finished):
            message.result()  # an error reaches the parent through the pool
        if not isinstance(message, Step) or message.stage in _SHOWN_STAGES:
            _say((number, message))


class _Progress:
    """Counts finished units, and estimates the time left from their times."""

    def __init__(self, groups: Sequence[Group], n_jobs: int) -> None:
        self.left: dict[str, int] = defaultdict(int)
        for group in groups:
            for kind in group.units():
                self.left[kind] += 1
        self.total = sum(self.left.values())
        self.done = 0
        self.n_jobs = n_jobs
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.began: dict[int, float] = {}
        self.now: dict[int, str] = {}
        self.warned: set[str] = set()

    def heard(self, number: int, event: TrialEvent) -> Iterator[Event]:
        """Yield the events to pass on."""
        if isinstance(event, Unit) and not event.done:
            self.began[number], self.now[number] = time.monotonic(), event.label
            yield self.step(event.label)
        elif isinstance(event, Unit):
            self.seconds[event.kind].append(time.monotonic() - self.began[number])
            self._count(event.kind)
            yield self.step(event.label)
        elif isinstance(event, EpochReport):
            of_all = "" if self.now[number].startswith(ENCODER) else f" of {event.n_epochs}"
            yield self.step(f"{self.now[number]}, epoch {event.epoch + 1}{of_all}")
        elif isinstance(event, Step) and event.stage in _SHOWN_STAGES:
            yield self.step(f"{self.now[number]}: {event.message}" if event.message else self.now[number])
        elif isinstance(event, Failed):
            self._count(event.source.partition(",")[0])
            yield event
        elif isinstance(event, Warned):
            text = "".join(letter for letter in event.message if not letter.isdigit())
            if text not in self.warned:  # warned once, not again with the numbers of every fold
                self.warned.add(text)
                yield event

    def step(self, message: str) -> Step:
        """Return the step, with the time that is left."""
        return Step("study", self.done, self.total, "; ".join(filter(None, (message, self._remaining()))))

    def _count(self, kind: str) -> None:
        self.done += 1
        self.left[kind] -= 1

    def _remaining(self) -> str:
        """Return the estimated time left in words; nothing before the first piece is done."""
        known = [value for values in self.seconds.values() for value in values]
        if not known or self.done == self.total:
            return ""
        typical = float(np.mean(known))
        seconds = sum(
            n * (float(np.mean(self.seconds[kind])) if self.seconds.get(kind) else typical)
            for kind, n in self.left.items()
        )
        minutes = round(seconds / self.n_jobs / 60)
        return (
            f"about {minutes // 60} h {minutes % 60:02d} min left" if minutes else "less than a minute left"
        )
