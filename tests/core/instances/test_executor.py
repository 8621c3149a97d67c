"""Results, events and failures are the same whatever executor runs the work."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL.Image
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned, drain
from napari_amil.core.base.outputs import failure_table
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.images.read import find_images
from napari_amil.core.instances.executor import SERIAL, Executor, Finished, map_fields, messages_of
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import open_source
from napari_amil.core.scoring.detect import detect_images, write_detections
from napari_amil.core.scoring.score_folder import score_cohort

Item = TypeVar("Item")
Value = TypeVar("Value")
Message = TypeVar("Message")
Said = Iterator[tuple[int, Message | Finished[Value]]]
Work = Callable[[Item], Generator[Message, None, Value]]


class Backwards:
    """Works on the last item first."""

    def run(self, work: Work[Item, Message, Value], items: Sequence[Item]) -> Said[Message, Value]:
        for number in reversed(range(len(items))):
            for message in messages_of(work, items[number]):
                yield number, message


class Threads:
    """Works on three items at once, and mixes their messages."""

    def run(self, work: Work[Item, Message, Value], items: Sequence[Item]) -> Said[Message, Value]:
        heard: queue.Queue[tuple[int, Message | Finished[Value]]] = queue.Queue()

        def listen(number: int) -> None:
            for message in messages_of(work, items[number]):
                heard.put((number, message))

        order = np.random.default_rng(0).permutation(len(items)).tolist()
        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(listen, number) for number in order]
            left = len(items)
            while left:
                number, message = heard.get()
                left -= isinstance(message, Finished)
                yield number, message
            for future in done:
                future.result()


OTHERS = pytest.mark.parametrize("executor", [Backwards(), Threads()], ids=["backwards", "threads"])


def halved(name: str, item: int) -> Generator[Event, None, float]:
    yield Warned(f"{name} begins")
    if item < 0:
        raise AmilError(f"'{name}' is negative.")
    yield Warned(f"{name} ends")
    return item / 2


@OTHERS
def test_events_results_and_failures_come_in_the_order_of_the_items(executor: Executor) -> None:
    items = {"a": 1, "b": -1, "c": 3, "caf\udce9": 4}
    events: list[Event] = []
    found = drain(map_fields(halved, items, "images", executor), events.append)
    assert list(found.items()) == [("a", 0.5), ("c", 1.5)]
    assert events == [
        Step("images", 0, 4, "a"),
        Warned("a begins"),
        Warned("a ends"),
        Step("images", 1, 4, "b"),
        Warned("b begins"),
        Failed("b", "'b' is negative."),
        Step("images", 2, 4, "c"),
        Warned("c begins"),
        Warned("c ends"),
        Step("images", 3, 4, "caf\\udce9"),
        Failed("caf\\udce9", "The name 'caf\\udce9' is not UTF-8, so no table can hold it; rename it."),
    ]


def test_serial_work_is_done_when_its_turn_comes_and_an_unknown_error_ends_it() -> None:
    begun = []

    def work(name: str, item: int) -> Generator[Event, None, int]:
        begun.append(name)
        yield Warned(name)
        return 1 // item

    running = map_fields(work, {"a": 1, "b": 0, "c": 1}, "images")
    assert [next(running), next(running)] == [Step("images", 0, 3, "a"), Warned("a")]
    assert begun == ["a"]
    with pytest.raises(ZeroDivisionError):
        drain(running)
    assert begun == ["a", "b"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four small smears and two files that are none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(4):
        smear = synthetic_smear(seed, SynthSettings(height=120, width=150, n_cells=6))
        PIL.Image.fromarray(smear.image).save(folder / f"{seed}.png")
    (folder / "1b.png").write_text("no image")
    (folder / "9.png").write_bytes(b"")
    return folder


@OTHERS
def test_tables_are_equal_byte_for_byte(
    recipe: Recipe, images: Path, tmp_path: Path, executor: Executor
) -> None:
    told: dict[str, list[Event]] = {}
    for name, runner in (("serial", SERIAL), ("other", executor)):
        told[name] = []
        own, out = replace(recipe, executor=runner), tmp_path / name
        drain(score_cohort(open_source([images], "control"), own, None, out / "scored"), told[name].append)
        found = drain(detect_images(find_images([images]), own), told[name].append)
        write_detections(found, out / "found", "csv")
        failed = [event for event in told[name] if isinstance(event, Failed)]
        write_table(failure_table(failed), out / "failures.csv")
    assert told["serial"] == told["other"]
    for file in ("scored/cells.csv", "scored/bags.csv", "found/cells.csv", "failures.csv"):
        assert (tmp_path / "serial" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert {event.source for event in told["other"] if isinstance(event, Failed)} == {"1b.png", "9.png"}
