"""Events travel as JSON lines; draining gives the result and nothing is lost."""

from __future__ import annotations

import json
import math
from collections.abc import Generator

import pytest

from napari_amil.core.base.events import (
    ControlDistances,
    Ended,
    EpochReport,
    Event,
    Failed,
    Step,
    TrainingBegan,
    Warned,
    drain,
    from_dict,
    to_dict,
    translated,
)

EVENTS = [
    Step("detect", 1, 3, "Finding cells"),
    Warned("The cap was reached."),
    Failed("ä b.png", "is not an image."),
    EpochReport(2, 60, 0.5, 0.75, 0.9, {"accuracy": 0.8}),
    TrainingBegan("without fold 1", 2, 4),
    ControlDistances(3, [0.0, 1.5, 3.0], [7, 2]),
    Ended("failed", "No control bag; add some."),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_travels_as_json(event: Event) -> None:
    record = to_dict(event)
    assert record["event"] == type(event).__name__
    line = json.dumps(record)
    assert "\n" not in line
    assert from_dict(json.loads(line)) == event
    assert record["event"] == type(event).__name__


def test_what_was_not_measured_is_not_a_number() -> None:
    report = EpochReport(1, 2, 0.5)
    assert report.validation_loss != report.validation_loss
    assert report.sic_weight != report.sic_weight
    assert report.metrics == {}
    line = json.dumps(to_dict(EpochReport(1, 2, 0.5, metrics={"auroc": math.nan})), allow_nan=False)
    back = from_dict(json.loads(line))
    assert isinstance(back, EpochReport)
    assert math.isnan(back.validation_loss)
    assert math.isnan(back.metrics["auroc"])
    assert back.train_loss == 0.5


def work(events: list[Event], result: object) -> Generator[Event, None, object]:
    yield from events
    return result


def test_draining_hands_over_every_event_and_returns_the_result() -> None:
    heard: list[Event] = []
    assert drain(work(EVENTS, 42), heard.append) == 42
    assert heard == EVENTS
    assert drain(work(EVENTS, "quiet")) == "quiet"
    assert drain(work([], None)) is None


def test_an_error_in_the_work_reaches_the_caller() -> None:
    def broken() -> Generator[Event, None, None]:
        yield Step("load", 0, 1)
        raise RuntimeError("shapes do not match")

    heard: list[Event] = []
    with pytest.raises(RuntimeError, match="shapes do not match"):
        drain(broken(), heard.append)
    assert heard == [Step("load", 0, 1)]


def test_an_error_of_the_listener_stops_the_work() -> None:
    def cancel(_: Event) -> None:
        raise KeyboardInterrupt

    running = work(EVENTS, 1)
    with pytest.raises(KeyboardInterrupt):
        drain(running, cancel)


def test_work_inside_other_work_says_what_is_made_of_its_events_and_returns_its_result() -> None:
    heard: list[Event] = []
    steps = translated(work(EVENTS, 42), lambda event: Warned("a step") if isinstance(event, Step) else None)
    assert drain(steps, heard.append) == 42
    assert heard == [Warned("a step")] * sum(isinstance(event, Step) for event in EVENTS)
    assert heard
