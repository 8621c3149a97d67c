"""Executor of several processes on one machine, which share the model; one that dies loses one item."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from napari_amil.core.base.device import one_thread, one_thread_each
from napari_amil.core.base.errors import AmilError, DeviceError
from napari_amil.core.instances.executor import (
    SERIAL,
    Executor,
    Finished,
    Item,
    Message,
    SerialExecutor,
    Value,
    messages_of,
)
from napari_amil.core.instances.extract import Recipe

_AHEAD = 4  # items for each process that may be done before anybody asks for them
_PRELOADED = [__name__, "napari_amil.core.instances.gather"]
_READY = "ready"


def in_processes(recipe: Recipe, n_jobs: int | None) -> Recipe:
    """Return a recipe whose work on fields is done by ``n_jobs`` processes of one thread each.

    This process computes with one thread too, since sums depend on how many there are: results are
    the same for any number of processes. None leaves the recipe as it is.

    Raises
    ------
    DeviceError
        If the recipe computes on a graphics card, which processes would have to share.
    """
    if n_jobs is None:
        return recipe
    if recipe.device.type != "cpu":
        raise DeviceError(
            f"Several processes share the processor, not the device '{recipe.device.type}'; leave --jobs "
            "out, or add --device cpu."
        )
    one_thread()
    return replace(recipe, executor=Processes(n_jobs))


def executor_of(n_jobs: int | None) -> Executor:
    """Return the executor of ``n_jobs`` processes; None means this process."""
    return SERIAL if n_jobs is None else Processes(n_jobs)


@dataclass(frozen=True)
class Processes:
    """Runs items in ``n_jobs`` processes of one thread each; within another process it is serial."""

    n_jobs: int

    def __reduce__(self) -> tuple[type[SerialExecutor], tuple[()]]:
        return SerialExecutor, ()

    def run(
        self, work: Callable[[Item], Generator[Message, None, Value]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Message | Finished[Value]]]:
        """Yield the messages of the processes as they come; when closed, the processes end."""
        crew = _Crew(work, items, min(self.n_jobs, len(items)))
        try:
            yield from crew.messages()
        finally:
            crew.end()


class _Crew:
    """Processes and the threads that hand them items.

    Parameters
    ----------
    work
        Goes to each process once.
    items
        Items to work on.
    n_jobs
        Number of processes.
    """

    def __init__(self, work: Any, items: Sequence[Any], n_jobs: int) -> None:  # noqa: ANN401
        self._work = work
        self._todo = deque(enumerate(items))
        self._heard: queue.Queue[tuple[int, Any] | Exception | None] = queue.Queue()
        self._room = threading.Semaphore(_AHEAD * n_jobs)
        self._ended = threading.Event()
        self._processes: dict[int, Any] = {}
        self._threads = [threading.Thread(target=self._tend, args=(n,), daemon=True) for n in range(n_jobs)]

    def messages(self) -> Iterator[tuple[int, Any]]:
        """Start all processes, and yield their messages."""
        for thread in self._threads:
            thread.start()
        left = len(self._threads)
        while left:
            message = self._heard.get()
            if isinstance(message, Exception):
                raise message
            if message is None:
                left -= 1
                continue
            if isinstance(message[1], Finished):
                self._room.release()
            yield message

    def end(self) -> None:
        """End processes and threads."""
        self._ended.set()
        for _ in self._threads:
            self._room.release()
        for process in list(self._processes.values()):
            process.kill()
        for thread in self._threads:
            thread.join()

    def _tend(self, place: int) -> None:
        """Hand items to one process after the other, and pass on its messages."""
        line: Connection | None = None
        try:
            while not self._ended.is_set():
                self._room.acquire()
                if self._ended.is_set() or not self._todo:
                    break
                line = line or self._begun(place)
                number, item = self._todo.popleft()
                if not self._worked(line, number, item):
                    line.close()
                    line = None
        except (AmilError, IndexError, OSError, pickle.PicklingError) as error:
            if not isinstance(error, IndexError):  # another thread took the last item
                self._heard.put(error)
        finally:
            if line is not None:
                line.close()  # the process reads the end and leaves
            self._heard.put(None)

    def _begun(self, place: int) -> Connection:
        """Start a process, hand it the work, and return the line to it once it is ready."""
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        with _STARTING, one_thread_each():
            process.start()
        self._processes[place] = process
        theirs.close()
        try:
            ours.send(self._work)
            if ours.recv() == _READY:
                return ours
        except (EOFError, OSError):
            pass
        raise AmilError(f"A process could not be started: {_reason(process)}; leave --jobs out.")

    def _worked(self, line: Connection, number: int, item: Any) -> bool:  # noqa: ANN401
        """Let a process work on an item; return whether it is still alive."""
        place = threading.current_thread()
        process = self._processes[self._threads.index(place)]
        try:
            line.send((number, item))
            while True:
                message = line.recv()
                self._heard.put(message)
                if isinstance(message[1], Finished):
                    return True
        except (EOFError, OSError):
            lost = AmilError(
                f"The process that worked on it ended ({_reason(process)}); give the command again, with "
                "fewer --jobs if memory is short."
            )
            self._heard.put((number, Finished(error=lost)))
            return False


def _reason(process: Any) -> str:  # noqa: ANN401 - processes of a context have no public type
    """Return in words why a process ended."""
    process.join()
    code = process.exitcode or 0
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(line: Connection) -> None:
    """Work on the items that come through a line until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    one_thread()
    try:
        work = line.recv()
        line.send(_READY)
        while True:
            number, item = line.recv()
            for message in messages_of(work, item):
                line.send((number, _portable(message)))
    except (EOFError, OSError):
        return  # nobody listens any more


def _portable(message: Any) -> Any:  # noqa: ANN401
    """Return a message whose error can be pickled: some cannot be rebuilt from their arguments."""
    if not isinstance(message, Finished) or message.error is None:
        return message
    try:
        pickle.loads(pickle.dumps(message.error))  # what this process made itself
    except Exception:  # noqa: BLE001 - whatever an error does when it is made anew
        kind = AmilError if isinstance(message.error, AmilError) else RuntimeError
        return Finished(error=kind(str(message.error)))
    return message


def _context() -> Any:  # noqa: ANN401
    """Return the multiprocessing context: a fork server with everything loaded, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


_CONTEXT = _context()
_STARTING = threading.Lock()  # the environment is that of all threads
