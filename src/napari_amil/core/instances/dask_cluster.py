"""Executor of the machines of a Dask cluster; a worker that dies loses one item."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from napari_amil.core.base.device import one_thread, one_thread_each
from napari_amil.core.base.errors import AmilError, DeviceError
from napari_amil.core.base.optional import optional
from napari_amil.core.instances.executor import (
    Finished,
    Item,
    Message,
    SerialExecutor,
    Value,
    messages_of,
)
from napari_amil.core.instances.extract import Recipe

LOCAL = "local"
"""Address that stands for a cluster of the processes of this machine."""
_ONE_AT_A_TIME = {  # so that the end of a worker is blamed on the item it worked on, and on no other
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
}
_PATIENCE_S = 60.0  # without a worker; a new one takes some seconds
_AHEAD = 4  # items for each thread of the cluster that may be done before anybody asks for them


def on_cluster(recipe: Recipe, address: str | None) -> Recipe:
    """Return a recipe whose work on fields is done by a Dask cluster, one thread a field.

    None leaves the recipe as it is.

    Raises
    ------
    DeviceError
        If the recipe computes on a graphics card of this machine.
    """
    if address is None:
        return recipe
    if recipe.device.type != "cpu":
        raise DeviceError(
            f"A cluster computes on processors, not on the device '{recipe.device.type}'; add --device cpu."
        )
    one_thread()
    return replace(recipe, executor=DaskCluster(address))


@dataclass(frozen=True)
class DaskCluster:
    """Runs items on the cluster whose scheduler has this address; ``local`` starts one here."""

    address: str

    def __reduce__(self) -> tuple[type[SerialExecutor], tuple[()]]:
        return SerialExecutor, ()

    def run(
        self, work: Callable[[Item], Generator[Message, None, Value]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Message | Finished[Value]]]:
        """Yield the messages of each item when it is done, in whatever order.

        Raises
        ------
        MissingExtraError
            If ``distributed`` is not installed.
        AmilError
            If there is no cluster at the address.
        """
        if not items:
            return
        with _client(self.address) as client:
            yield from _results(client, work, list(items))


def _client(address: str) -> Any:  # noqa: ANN401 - of an optional package
    """Return a client of the cluster."""
    distributed = optional("distributed")
    if address == LOCAL:
        with one_thread_each(), optional("dask").config.set(_ONE_AT_A_TIME):
            return distributed.Client(n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=None)
    try:
        return distributed.Client(address, timeout="20s")
    except (OSError, TimeoutError, ValueError) as error:
        raise AmilError(
            f"No Dask scheduler answers at '{address}'; start one with 'dask scheduler' and give its address."
        ) from error


def _results(client: Any, work: Any, items: list[Any]) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
    """Yield the results; a few items a thread are in flight, so that memory stays bounded."""
    with optional("dask").config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"}):
        # a task, which is done again where its worker is lost; scattered data would be gone
        shared = client.submit(pickle.loads, pickle.dumps(partial(_in_one_thread, work)), pure=False)
    room = max(_AHEAD * sum(client.nthreads().values()), 1)
    todo = iter(enumerate(items))
    numbers: dict[Any, int] = {}

    def fill() -> None:
        while len(numbers) < room and (following := next(todo, None)):
            future = client.submit(_call, shared, following[1], pure=False, retries=0)
            numbers[future] = following[0]

    fill()
    while numbers:
        for future in _some_done(client, list(numbers)):
            number = numbers.pop(future)
            for message in _fetched(future):
                yield number, message
            future.release()
        fill()


def _some_done(client: Any, futures: list[Any]) -> set[Any]:  # noqa: ANN401
    """Return futures that are done, as soon as there are any.

    Raises
    ------
    AmilError
        If the cluster has had no worker for a minute.
    """
    had_workers = True
    while True:
        try:
            done: set[Any] = optional("distributed").wait(futures, _PATIENCE_S, "FIRST_COMPLETED").done
        except TimeoutError:
            has_workers = bool(client.scheduler_info()["workers"])
            if not (had_workers or has_workers):
                raise AmilError(
                    "The Dask cluster has no worker; start some, with more memory if they ended, and give "
                    "the command again."
                ) from None
            had_workers = has_workers
        else:
            return done


def _fetched(future: Any) -> list[Any]:  # noqa: ANN401
    """Return the messages of an item, or that its worker died; all other errors are messages."""
    try:
        return list(future.result())
    except Exception as error:  # noqa: BLE001 - of the cluster, of several kinds
        lost = AmilError(
            f"The worker that worked on it was lost ({type(error).__name__}); give the command again, with "
            "more memory for each worker if it happens again."
        )
        return [Finished(error=lost)]


def _call(work: Callable[[Any], list[Any]], item: Any) -> list[Any]:  # noqa: ANN401
    return work(item)


def _in_one_thread(work: Any, item: Any) -> list[Any]:  # noqa: ANN401
    """Return all messages of the work on an item."""
    one_thread()
    return list(messages_of(work, item))
