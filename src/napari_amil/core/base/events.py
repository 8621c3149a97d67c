"""Events of long work: frozen records that travel as JSON lines."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

Result = TypeVar("Result")

EVENTS_FILE = "events.jsonl"
"""Name of the file in a run folder that holds the events, one JSON record a line with its ``time``."""
STOP_FILE = "stop"
"""Name of the file in a run folder that asks to end after the epoch that runs."""
PAUSE_FILE = "pause"
"""Name of the file in a run folder that asks to wait, between two steps, until it is gone."""
PROCESS_FILE = "process.json"
"""Name of the file in a run folder that says which process works there: ``pid``, and when ``created``."""


@dataclass(frozen=True)
class Step:
    """``done`` of ``total`` units of ``stage`` are finished; ``message`` says what comes next."""

    stage: str
    done: int
    total: int
    message: str = ""


@dataclass(frozen=True)
class Warned:
    """Something that the user should know and that does not stop the work."""

    message: str


@dataclass(frozen=True)
class Understood:
    """Interpretation of the input of a command, such as ``9 bags of 9 patients, labels from folders``."""

    message: str


@dataclass(frozen=True)
class Failed:
    """One input could not be used; the others go on."""

    source: str
    reason: str


@dataclass(frozen=True)
class EpochReport:
    """One epoch of training: mean losses and validation figures (NaN where not measured)."""

    epoch: int
    n_epochs: int
    train_loss: float
    validation_loss: float = float("nan")
    sic_weight: float = float("nan")
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class TrainingBegan:
    """Training ``number`` (from 1) of the ``total`` of a run begins; ``name`` says what it is for."""

    name: str
    number: int
    total: int


@dataclass(frozen=True)
class ControlDistances:
    """Histogram of the distances (d_n) of control cells to their Gaussian, as fitted before ``epoch``.

    There is one more of the ``edges`` than of the ``counts``.
    """

    epoch: int
    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class Ended:
    """A run is over; ``reason`` is the sentence of what failed."""

    outcome: Literal["finished", "failed", "cancelled"] = "finished"
    reason: str = ""


Event = Step | Warned | Understood | Failed | EpochReport | TrainingBegan | ControlDistances | Ended
Events = Generator[Event, None, Any]
"""A generator of events; its return value is the result of the work."""

_KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (Step, Warned, Understood, Failed, EpochReport, TrainingBegan, ControlDistances, Ended)
}
_ADAPTERS: dict[type[Event], TypeAdapter[Event]] = {kind: TypeAdapter(kind) for kind in _KINDS.values()}


def to_dict(event: Event) -> dict[str, Any]:
    """Return ``event`` as a JSON-ready dictionary whose key ``event`` names its kind; NaN becomes None."""
    fields = {name: json_ready(value) for name, value in dataclasses.asdict(event).items()}
    return {"event": type(event).__name__, **fields}


def from_dict(record: dict[str, Any]) -> Event:
    """Return the event that `to_dict` wrote.

    Raises
    ------
    KeyError
        If there is no such kind of event.
    TypeError
        If a field is missing or unknown.
    ValueError
        If a field has another type.
    """
    fields: dict[str, Any] = {name: _with_nan(value) for name, value in record.items()}
    kind = _KINDS[fields.pop("event")]
    kind(**fields)  # an adapter passes over unknown fields
    return _ADAPTERS[kind].validate_json(json.dumps(fields), strict=True)


def json_ready(value: object) -> object:
    """Return a value in which None stands for every number that is not finite, since JSON has none."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(value: object) -> object:
    """Return a record as it was before `json_ready`, with NaN for None."""
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    return math.nan if value is None else value


def drain(work: Events, on_event: Callable[[Event], None] | None = None) -> Any:  # noqa: ANN401
    """Run ``work`` to its end, hand every event to ``on_event`` and return the result."""
    while True:
        try:
            event = next(work)
        except StopIteration as stop:
            return stop.value
        if on_event is not None:
            on_event(event)


def translated(
    work: Generator[Event, None, Result], translate: Callable[[Event], Event | None]
) -> Generator[Event, None, Result]:
    """Run ``work`` inside other work: pass on ``translate`` of each event, nothing for None."""
    while True:
        try:
            event = next(work)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        changed = translate(event)
        if changed is not None:
            yield changed


def collecting(work: Generator[Event, None, Result], failed: list[Failed]) -> Generator[Event, None, Result]:
    """Run ``work`` inside other work, pass on every event, and add failures to ``failed``."""

    def noted(event: Event) -> Event:
        if isinstance(event, Failed):
            failed.append(event)
        return event

    return (yield from translated(work, noted))
