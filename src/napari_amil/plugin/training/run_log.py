"""Read the ``events.jsonl`` of a run bit by bit while the file grows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from napari_amil.core.base.events import (
    EVENTS_FILE,
    ControlDistances,
    Ended,
    EpochReport,
    Event,
    Failed,
    Step,
    TrainingBegan,
    Warned,
    from_dict,
)

_BYTES_AT_ONCE = 200_000
"""Read in one go, so that the log of a long run never holds the window."""
_MOST_NOTES = 50


@dataclass
class TrainingLog:
    """The epochs of one training of a run.

    Parameters
    ----------
    name, number, total
        Purpose; number, and total.
    began
        When it began, in seconds since 1970.
    epochs, times
        Report of each epoch, and when it came.
    distances
        The last fit of the control Gaussian, and the one before.
    """

    name: str = "the model of the run"
    number: int = 1
    total: int = 1
    began: float = 0.0
    epochs: dict[int, EpochReport] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    distances: list[ControlDistances] = field(default_factory=list)

    @property
    def last(self) -> EpochReport | None:
        """The report of the latest epoch."""
        return self.epochs[max(self.epochs)] if self.epochs else None


class RunLog:
    """The events of the run in ``folder``.

    Parameters
    ----------
    folder
        The run folder; it may be empty still, or gone.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / EVENTS_FILE
        self._read = 0
        self._clear()

    def _clear(self) -> None:
        self._rest = b""
        self.trainings: list[TrainingLog] = []
        self.step: Step | None = None
        self.notes: list[str] = []
        self.ended: Ended | None = None
        self.time = 0.0

    @property
    def now(self) -> TrainingLog | None:
        """The training that runs, or ran last."""
        return self.trainings[-1] if self.trainings else None

    def poll(self) -> bool:
        """Read the events since the last call; return True if there were any.

        Raises
        ------
        OSError
            If the file is there and cannot be read.
        """
        if not self._file.is_file():
            return False
        with self._file.open("rb") as file:
            if file.seek(0, 2) < self._read:  # it was written anew
                self._read = 0
                self._clear()
            file.seek(self._read)
            part = file.read(_BYTES_AT_ONCE)
        self._read += len(part)
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            self._take(line)
        return bool(lines)

    def poll_all(self) -> None:
        """Read to the end of the file."""
        while self.poll():
            pass

    def _take(self, line: bytes) -> None:
        """Note down one line; an unknown one, from another version, is skipped."""
        try:
            record = json.loads(line)
            time = float(record.pop("time", self.time))
            event = from_dict(record)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return
        self.time = time
        self._hear(event, time)

    def _hear(self, event: Event, time: float) -> None:
        self.ended = event if isinstance(event, Ended) else None
        if isinstance(event, Step):
            self.step = event
        elif isinstance(event, TrainingBegan):
            self._begin(event, time)
        elif isinstance(event, EpochReport):
            training = self._training(time)
            training.epochs[event.epoch], training.times[event.epoch] = event, time
        elif isinstance(event, ControlDistances):
            training = self._training(time)
            training.distances = [*training.distances, event][-2:]
        elif isinstance(event, Warned | Failed):
            text = event.message if isinstance(event, Warned) else f"{event.source}: {event.reason}"
            if text not in self.notes:
                self.notes = [*self.notes, text][-_MOST_NOTES:]

    def _begin(self, event: TrainingBegan, time: float) -> None:
        """Open a training, or go on with it when the run was resumed."""
        known = next((t for t in self.trainings if t.number == event.number), None)
        if known is not None:
            self.trainings.remove(known)
        training = known or TrainingLog()
        training.name, training.number, training.total = event.name, event.number, event.total
        training.began = time
        self.trainings.append(training)
        self.step = None

    def _training(self, time: float) -> TrainingLog:
        if not self.trainings:
            self.trainings.append(TrainingLog(began=time))
        return self.trainings[-1]
