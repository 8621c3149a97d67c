"""Apply a function to each field or job; skip unreadable images and collect failures."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

from napari_amil.core.base.errors import AmilError, ImageError
from napari_amil.core.base.events import Event, Failed, Step
from napari_amil.core.base.names import printable

Item = TypeVar("Item")
Value = TypeVar("Value")
Message = TypeVar("Message")


@dataclass(frozen=True, eq=False)
class Finished(Generic[Value]):
    """The end of the work on one item: its value, or the error that it raised."""

    value: Value | None = None
    error: Exception | None = None

    def result(self) -> Value:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return cast("Value", self.value)


class Executor(Protocol):
    """Runs a function on many items, in this process or elsewhere."""

    def run(
        self, work: Callable[[Item], Generator[Message, None, Value]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Message | Finished[Value]]]:
        """Yield the number of an item with each of its messages, and with `Finished` at its end.

        Items may be worked on, and end, in any order; the messages of one item keep theirs.
        """
        ...


class SerialExecutor:
    """Runs one item after the other in this process."""

    def run(
        self, work: Callable[[Item], Generator[Message, None, Value]], items: Sequence[Item]
    ) -> Iterator[tuple[int, Message | Finished[Value]]]:
        """Yield the messages of every item in order, each as soon as it comes."""
        for number, item in enumerate(items):
            with closing(messages_of(work, item)) as messages:
                for message in messages:
                    yield number, message


SERIAL = SerialExecutor()


def messages_of(
    work: Callable[[Item], Generator[Message, None, Value]], item: Item
) -> Generator[Message | Finished[Value], None, None]:
    """Yield the messages of the work on one item, then its `Finished`: what any executor runs."""
    try:
        value = yield from work(item)
    except Exception as error:  # noqa: BLE001 - raised again by `Finished.result`, in the order of the items
        yield Finished(error=error)
    else:
        yield Finished(value)


class Ahead(Generic[Item, Value]):
    """Gives out, portion by portion, what an executor does with many fields in one go.

    So processes go on with later fields while what is done is stored.

    Parameters
    ----------
    work
        As of `map_fields`.
    items
        By the name of the image; portions take them in this order.
    executor
        Runs the work.
    """

    def __init__(
        self,
        work: Callable[[str, Item], Generator[Event, None, Value]],
        items: Mapping[str, Item],
        executor: Executor,
    ) -> None:
        checked: Callable[[tuple[str, Item]], Generator[Event, None, Value]] = partial(_checked, work)
        self._running: Iterator[tuple[int, Any]] = executor.run(checked, list(items.items()))
        self._ordered: Iterator[tuple[int, Any]] = _in_order(self._running)
        self._names = iter(items)

    def run(
        self, work: Callable[[Any], Generator[Any, None, Any]], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Yield the messages of the next fields, which ``items`` names; ``work`` is done already."""
        for number, (name, _) in enumerate(items):
            while next(self._names) != name:  # a portion that was refused asked for none of its fields
                deque(self._next(), maxlen=0)
            for message in self._next():
                yield number, message

    def _next(self) -> Iterator[Any]:
        """Yield the messages of the next field."""
        for _, message in self._ordered:
            yield message
            if isinstance(message, Finished):
                return

    def close(self) -> None:
        """End the work whose results are not wanted any more."""
        if isinstance(self._running, Generator):
            self._running.close()


def map_fields(
    work: Callable[[str, Item], Generator[Event, None, Value]],
    items: Mapping[str, Item],
    stage: str,
    executor: Executor = SERIAL,
) -> Generator[Event, None, dict[str, Value]]:
    """Apply ``work`` to each image; an image that cannot be used gives a `Failed`, and the others go on.

    Results, events and failures come in the order of ``items``, whatever the executor.

    Parameters
    ----------
    work
        Gets the name of an image and its item.
    items
        By the name of the image.
    stage
        Of the `Step` that is yielded before each image.
    executor
        Runs the work.

    Returns
    -------
    dict
        The results by name, without the images that failed.
    """
    names, results = list(items), dict[str, Value]()
    if names:
        yield Step(stage, 0, len(names), printable(names[0]))
    checked: Callable[[tuple[str, Item]], Generator[Event, None, Value]] = partial(_checked, work)
    running: Iterator[tuple[int, Event | Finished[Value]]] = executor.run(checked, list(items.items()))
    ordered: Iterator[tuple[int, Event | Finished[Value]]] = _in_order(running)
    for number, message in ordered:
        if not isinstance(message, Finished):
            yield message
            continue
        try:
            results[names[number]] = message.result()
        except AmilError as error:
            yield Failed(printable(names[number]), printable(str(error)))
        if number + 1 < len(names):
            yield Step(stage, number + 1, len(names), printable(names[number + 1]))
    return results


def _checked(
    work: Callable[[str, Item], Generator[Event, None, Value]], item: tuple[str, Item]
) -> Generator[Event, None, Value]:
    """Do the work on an image whose name tables can hold."""
    name = item[0]
    if printable(name) != name:
        raise ImageError(f"The name '{printable(name)}' is not UTF-8, so no table can hold it; rename it.")
    return (yield from work(*item))


def _in_order(
    messages: Iterator[tuple[int, Message | Finished[Value]]],
) -> Iterator[tuple[int, Message | Finished[Value]]]:
    """Yield all messages of the first item, then those of the second, and so on, as early as possible."""
    waiting: dict[int, list[Message | Finished[Value]]] = defaultdict(list)
    turn = 0
    for number, message in messages:
        waiting[number].append(message)
        while waiting[turn]:
            first = waiting[turn].pop(0)
            yield turn, first
            if isinstance(first, Finished):
                del waiting[turn]
                turn += 1
