"""Requests are answered, one after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TextIO

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step, drain, to_dict
from napari_amil.worker import cohorts, smears, trainings
from napari_amil.worker.request import Job

_SECONDS_BETWEEN_STEPS = 0.1

JOBS: dict[str, Job] = {
    "detect": smears.detect,
    "score": smears.score,
    "neighbours": smears.neighbours,
    "deletion": smears.deletion,
    "info": smears.info,
    "score_cohort": cohorts.score_cohort,
    "map": cohorts.lay_out,
    "explore": cohorts.explore,
    "name_cluster": cohorts.name_cluster,
    "compare": cohorts.compare,
    "report": cohorts.report,
    "choices": trainings.choices,
    "cohort": trainings.cohort,
    "check": trainings.check,
    "estimate": trainings.estimate,
    "calibrate": trainings.calibrate,
    "arrange": trainings.arrange,
    "annotated": trainings.annotated,
    "annotate": trainings.annotate,
}
"""What can be asked for."""


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until the stream ends; a job that fails answers with one sentence."""

    def say(**record: Any) -> None:  # noqa: ANN401
        replies.write(json.dumps(record) + "\n")
        replies.flush()

    say(event="Ready")
    for line in requests:
        request = json.loads(line)
        number = request["id"]

        def tell(event: Event, number: int = number) -> None:
            say(id=number, **to_dict(event))

        try:
            result = drain(JOBS[request["job"]](request), _slowed(tell))
        except AmilError as error:
            say(id=number, event="Error", message=str(error))
        except Exception as error:  # noqa: BLE001 - the window must hear of every failure
            say(id=number, event="Error", message=f"The work stopped: {type(error).__name__}: {error}.")
        else:
            say(id=number, event="Result", **result)


def _slowed(say: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return ``say`` with at most ten steps a second; other events always pass."""
    last = -1.0

    def passed(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        if (
            isinstance(event, Step)
            and event.done < event.total
            and now - last < _SECONDS_BETWEEN_STEPS
            and last > 0
        ):
            return
        last = now
        say(event)

    return passed
