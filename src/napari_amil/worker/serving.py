"""Answer requests one after the other; a failed job or a bad line is answered with a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step, drain
from napari_amil.worker.protocol.lines import (
    MAX_LINE_BYTES,
    ProtocolError,
    decode_request,
    encode_answer,
    encode_ready,
)
from napari_amil.worker.protocol.messages import Reply, Request

_SECONDS_BETWEEN_STEPS = 0.1

Jobs = Mapping[type[Request], Callable[[Any], Any]]
"""The function of each request: a generator of events that returns the reply."""


def serve(requests: BinaryIO, replies: BinaryIO, jobs: Jobs) -> None:
    """Answer requests until the stream ends."""

    def write(line: bytes) -> None:
        replies.write(line)
        replies.flush()

    write(encode_ready())
    for line in read_lines(requests):
        try:
            number, request = decode_request(line)
        except ProtocolError as error:
            write(encode_answer(error.number, str(error)))
            continue
        write(_end_of(request, number, write, jobs))


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream; of one that is longer than allowed only its beginning is kept."""
    while line := stream.readline(MAX_LINE_BYTES):
        rest = line
        while not rest.endswith(b"\n") and (rest := stream.readline(MAX_LINE_BYTES)):
            pass
        yield line


def _end_of(request: Request, number: int, write: Callable[[bytes], None], jobs: Jobs) -> bytes:
    """Do a job, write its events, and return the line of its reply or error."""
    pass_on = _slowed(lambda event: write(encode_answer(number, event)))
    try:
        reply: Reply = drain(jobs[type(request)](request), pass_on)
        return encode_answer(number, reply)
    except AmilError as error:
        return encode_answer(number, str(error))
    except MemoryError:
        sentence = "There is not enough memory for this; close other programs or use a smaller image."
        return encode_answer(number, sentence)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the window must hear of every failure
        reason = " ".join(str(error).split()) or "no reason is given"
        return encode_answer(number, f"The work stopped ({type(error).__name__}): {reason:.500}.")


def _slowed(write: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return ``write`` with at most ten steps a second; other events always pass."""
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
        write(event)

    return passed
