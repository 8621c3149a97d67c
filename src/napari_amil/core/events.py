"""What long work says while it runs: small frozen records that travel as JSON lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any


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


Event = Step | Warned | Failed | EpochReport
Events = Generator[Event, None, Any]
"""A generator of events; its return value is the result of the work."""

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Step, Warned, Failed, EpochReport)}


def to_dict(event: Event) -> dict[str, Any]:
    """Return ``event`` as a JSON-ready dictionary whose key ``event`` names its kind."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


def from_dict(record: dict[str, Any]) -> Event:
    """Return the event that `to_dict` wrote."""
    fields = dict(record)
    return _KINDS[fields.pop("event")](**fields)


def drain(work: Events, on_event: Callable[[Event], None] | None = None) -> Any:  # noqa: ANN401
    """Run ``work`` to its end, hand every event to ``on_event`` and return the result."""
    while True:
        try:
            event = next(work)
        except StopIteration as stop:
            return stop.value
        if on_event is not None:
            on_event(event)
