"""Training on several devices: one process each, the first of which reports."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event
from napari_amil.core.base.settings import TrainingSettings
from napari_amil.core.training.engine import check_compute

_WAIT_S = 0.5
_TIMEOUT = timedelta(hours=2)  # the others wait while the first embeds control cells

Work = Callable[..., Generator[Event, None, Any]]
"""Takes a device and other arguments."""


def on_ranks(
    settings: TrainingSettings,
    device: torch.device,
    work: Work,
    *arguments: Any,  # noqa: ANN401
) -> Generator[Event, None, Any]:
    """Run ``work(device, *arguments)`` here, or in one process for each of several devices.

    The processes know of each other (NCCL on graphics cards, else Gloo). The events of the first are
    yielded and its result is returned. When this generator is closed or interrupted they end.

    Raises
    ------
    DeviceError
        If there are fewer devices than the settings want, or they cannot compute as wanted.
    AmilError
        Of the process that failed first, or if one of them ended unexpectedly.
    """
    if settings.devices == 1:
        return (yield from work(device, *arguments))
    check_compute(settings, device)
    context = get_context("spawn")  # a forked process cannot use CUDA
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        processes = [
            context.Process(
                target=_rank,
                args=(_Place(rank, settings.devices, meeting), results, work, (device, *arguments)),
                daemon=True,
            )
            for rank in range(settings.devices)
        ]
        for process in processes:
            process.start()
        try:
            while True:
                try:
                    kind, value = results.get(timeout=_WAIT_S)
                except queue.Empty:
                    _check_alive(processes)
                    continue
                if kind == "event":
                    yield value
                elif kind == "error":
                    raise AmilError(value)
                else:
                    return pickle.loads(value)  # from our own process, never from a file
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()


def _check_alive(processes: list[Any]) -> None:
    """Raise if a process ended by itself; the first one lives until its result was heard."""
    for rank, process in enumerate(processes):
        if process.exitcode:
            raise AmilError(
                f"Process {rank + 1} of {len(processes)} of the training ended with code {process.exitcode}; "
                "its output is above. Try one device."
            )


@dataclass(frozen=True)
class _Place:
    """Rank of a process, number of processes, and the file through which they find each other."""

    rank: int
    n_ranks: int
    meeting: str

    def join(self, device: torch.device) -> None:
        """Meet the others."""
        os.environ["LOCAL_RANK"] = str(self.rank)
        torch.set_num_threads(max(1, torch.get_num_threads() // self.n_ranks))
        if device.type == "cuda":
            torch.cuda.set_device(self.rank)
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=self.meeting,
            rank=self.rank,
            world_size=self.n_ranks,
            timeout=_TIMEOUT,
        )


def _rank(place: _Place, results: Any, work: Work, arguments: tuple[Any, ...]) -> None:  # noqa: ANN401
    """Do the work in one of several processes; the first reports to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C
    parent = os.getppid()
    place.join(arguments[0])
    running = work(*arguments)
    try:
        while True:
            event = next(running)
            if os.getppid() != parent:
                os._exit(1)  # the parent was killed
            if place.rank == 0:
                results.put(("event", event))
    except StopIteration as stop:
        if place.rank == 0:
            results.put(("result", pickle.dumps(stop.value)))
    except AmilError as error:
        results.put(("error", str(error)))
    torch.distributed.destroy_process_group()
