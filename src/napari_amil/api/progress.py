"""Run long work to its end: progress on request, warnings as Python warnings, failures as a table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from napari_amil.core import pipeline
from napari_amil.core.base.events import Event, Failed, Step, Warned, drain

Result = TypeVar("Result")
Show = bool | Callable[[Event], None]
"""True for a progress bar, False for silence, or a function that is called with every event."""


class AmilWarning(UserWarning):
    """Something that the user should know and that did not stop the work."""


@dataclass
class Finished:
    """Failed inputs and warnings of some work, beside its result.

    Parameters
    ----------
    failed
        Inputs that could not be used.
    warned
        Sentences that the user should know.
    """

    failed: list[Failed] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def run(self, work: Generator[Event, None, Result], show: Show = False) -> Result:
        """Run work to its end and return its result."""
        if show is not True:
            return self._drained(work, show or None)
        columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), transient=True) as bar:
            task = bar.add_task("", total=None)

            def move(event: Event) -> None:
                if isinstance(event, Step):
                    bar.update(task, description=event.stage, completed=event.done, total=event.total)

            return self._drained(work, move)

    def failures(self) -> pd.DataFrame:
        """Return the table ``source, reason`` of inputs that could not be used."""
        return pipeline.failure_table(self.failed)

    def warn(self) -> None:
        """Issue the warnings of the work as an `AmilWarning` each, and one for the failures."""
        messages = list(dict.fromkeys(self.warned))
        if self.failed:
            first = self.failed[0]
            messages.append(
                f"{len(self.failed)} inputs could not be used, '{first.source}' first: {first.reason} "
                "All are listed in 'failures'."
            )
        for sentence in messages:
            warnings.warn(sentence, AmilWarning, stacklevel=3)

    def _drained(self, work: Generator[Event, None, Result], also: Callable[[Event], None] | None) -> Result:
        result: Result = drain(work, lambda event: self._note(event, also))
        return result

    def _note(self, event: Event, also: Callable[[Event], None] | None) -> None:
        if isinstance(event, Failed):
            self.failed.append(event)
        if isinstance(event, Warned):
            self.warned.append(event.message)
        if also is not None:
            also(event)


def figures(metrics: dict[str, float], most: int = 3) -> str:
    """Return the first figures of a table of them on one line."""
    if not metrics:
        return "nothing held out"
    listed = [f"{name} {value:.3g}" for name, value in metrics.items()]
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")
