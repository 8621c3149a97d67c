"""Lines of the worker process: one JSON object for each request, event, reply and error.

The window writes ``{"id": 3, "job": "Info", "fields": {...}}``. The worker writes ``{"event": "Ready"}``
once it can work, then for each request any number of events (``{"id": 3, "event": "Step", ...}``) and one
end: ``Result`` with the ``fields`` of the reply, or ``Error`` with a sentence as ``message``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from napari_amil.core.base.events import Event, from_dict, to_dict
from napari_amil.worker.protocol.messages import REQUESTS, Reply, Request

MAX_LINE_BYTES = 16 * 2**20
"""Length of the longest line that either side reads or writes."""


class ProtocolError(ValueError):
    """A line that is no request or reply; ``number`` is that of the request, 0 if it is unknown."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True)
class Answer:
    """One line of the worker: `READY`, or its message on the request ``number``.

    ``content`` is an event, the fields of the reply (`reply_to`), or the sentence of an error.
    """

    number: int
    content: Event | dict[str, Any] | str | None


READY = Answer(0, None)


def encode_request(number: int, request: Request) -> bytes:
    """Return the line of a request."""
    return _line(
        {"id": number, "job": type(request).__name__, "fields": json.loads(request.model_dump_json())}
    )


def encode_answer(number: int, content: Event | Reply | str) -> bytes:
    """Return the line of an event, of a reply or of the sentence of an error."""
    if isinstance(content, Reply):
        return _line({"id": number, "event": "Result", "fields": json.loads(content.model_dump_json())})
    if isinstance(content, str):
        return _line({"id": number, "event": "Error", "message": content})
    return _line({"id": number, **to_dict(content)})


def encode_ready() -> bytes:
    """Return the line that says that requests can be sent."""
    return _line({"event": "Ready"})


def decode_request(line: bytes) -> tuple[int, Request]:
    """Return number and request of a line.

    Raises
    ------
    ProtocolError
        If the line is no request, or one of its fields is missing, unknown or of another type.
    """
    record = _record(line)
    number, job = record.get("id"), record.get("job")
    if type(number) is not int:
        raise ProtocolError(f"A request needs a whole number as 'id', not {number!r:.80}.")
    kind = REQUESTS.get(job) if isinstance(job, str) else None
    if kind is None:
        raise ProtocolError(f"There is no job {job!r:.80}; the jobs are {', '.join(REQUESTS)}.", number)
    try:
        return number, kind.model_validate_json(json.dumps(record.get("fields")))
    except ValidationError as error:
        raise ProtocolError(f"The request '{job}' cannot be used: {_reason(error)}.", number) from error


def decode_answer(line: bytes) -> Answer:
    """Return the answer in a line of the worker.

    Raises
    ------
    ProtocolError
        If the line is none of the worker's, such as one that a library prints.
    """
    record = _record(line)
    if record == {"event": "Ready"}:
        return READY
    number = record.pop("id", None)
    if type(number) is not int:
        raise ProtocolError("The line has no 'id'.")
    kind, content = (
        record.get("event"),
        record.get("fields" if record.get("event") == "Result" else "message"),
    )
    if kind == "Result" and isinstance(content, dict):
        return Answer(number, content)
    if kind == "Error" and isinstance(content, str):
        return Answer(number, content)
    try:
        return Answer(number, from_dict(record))
    except (ValueError, TypeError, KeyError) as error:
        raise ProtocolError(f"The line is no known event: {error!r:.200}.", number) from error


def reply_to(request: Request, fields: dict[str, Any]) -> Reply:
    """Return the reply that belongs to ``request``.

    Raises
    ------
    ProtocolError
        If a field is missing, unknown or of another type.
    """
    try:
        return request.reply.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise ProtocolError(
            f"The reply to '{type(request).__name__}' cannot be used: {_reason(error)}."
        ) from error


def _line(record: dict[str, Any]) -> bytes:
    line = json.dumps(record).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"A line of {len(line):,} bytes is longer than the {MAX_LINE_BYTES:,} allowed.")
    return line


def _record(line: bytes) -> dict[str, Any]:
    if len(line) >= MAX_LINE_BYTES:
        raise ProtocolError(f"A line is longer than {MAX_LINE_BYTES:,} bytes.")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The line is no JSON: {line[:80]!r}.") from error
    if not isinstance(record, dict):
        raise ProtocolError(f"The line is no JSON object: {line[:80]!r}.")
    return record


def _reason(error: ValidationError) -> str:
    """Return the first reason of a refusal: the place of the field, and its error."""
    first = error.errors()[0]
    return f"'{'.'.join(str(part) for part in first['loc'])}': {first['msg']}"
