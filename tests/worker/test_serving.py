"""Requests are answered one after the other; neither a bad line nor a failed job ends the process."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step
from napari_amil.worker.protocol.lines import (
    MAX_LINE_BYTES,
    READY,
    Answer,
    ProtocolError,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
    reply_to,
)
from napari_amil.worker.protocol.messages import (
    REQUESTS,
    Detect,
    Detected,
    FindNearest,
    Info,
    ModelCard,
    NearestCells,
    Reply,
)
from napari_amil.worker.serving import serve

CARD = ModelCard(card={"loss": float("inf")}, settings={}, classes=("a",))


def answers(text: bytes, job: Callable[[Info], Reply] = lambda _: CARD) -> list[Answer]:
    def work(request: Info) -> Generator[Event, None, Reply]:
        yield Step("read", 1, 2)
        return job(request)

    replies = io.BytesIO()
    serve(io.BytesIO(text), replies, {Info: work})
    return [decode_answer(line) for line in replies.getvalue().splitlines()]


def test_a_request_is_answered_with_events_and_its_reply() -> None:
    ready, step, end = answers(encode_request(7, Info()))
    assert ready == READY
    assert step == Answer(7, Step("read", 1, 2))
    assert isinstance(end.content, dict)
    assert reply_to(Info(), end.content) == CARD


@pytest.mark.parametrize(
    ("line", "number", "sentence"),
    [
        (b"{", 0, "The line is no JSON"),
        (b"[1]", 0, "The line is no JSON object"),
        (b"\xff\xfe\x00", 0, "The line is no JSON"),
        (b"[" * 200_000, 0, "The line is no JSON"),
        (b'{"job": "Info", "fields": {}}', 0, "needs a whole number as 'id', not None"),
        (b'{"id": true, "job": "Info", "fields": {}}', 0, "not True"),
        (b'{"id": 4, "job": "Sing", "fields": {}}', 4, "There is no job 'Sing'"),
        (b'{"id": 4, "job": ["Info"], "fields": {}}', 4, "There is no job"),
        (b'{"id": 4, "job": "Info"}', 4, "The request 'Info' cannot be used"),
        (b'{"id": 4, "job": "Info", "fields": {"bundle": 3}}', 4, "'bundle': Input should be a valid string"),
        (b'{"id": 4, "job": "Info", "fields": {"bundel": "a"}}', 4, "'bundel': Extra inputs"),
        (b'{"id": 4, "job": "Detect", "fields": {"image": "a"}}', 4, "'out': Field required"),
        (b"x" * (3 * MAX_LINE_BYTES), 0, "A line is longer than"),
    ],
)
def test_a_bad_line_is_a_sentence_and_the_next_request_is_answered(
    line: bytes, number: int, sentence: str
) -> None:
    _, refused, _, end = answers(line + b"\n" + encode_request(9, Info()))
    assert refused.number == number
    assert isinstance(refused.content, str)
    assert sentence in refused.content
    assert "\n" not in refused.content
    assert len(refused.content) < 500
    assert end.number == 9


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (AmilError("The bag is empty."), "The bag is empty."),
        (MemoryError(), "There is not enough memory for this; close other programs or use a smaller image."),
        (RuntimeError("CUDA\n error"), "The work stopped (RuntimeError): CUDA error."),
        (RecursionError(), "The work stopped (RecursionError): no reason is given."),
        (SystemExit(3), "The work stopped (SystemExit): 3."),
    ],
)
def test_whatever_a_job_raises_is_a_sentence(error: BaseException, sentence: str) -> None:
    def fail(_: Info) -> Reply:
        raise error

    found = answers(2 * encode_request(1, Info()), fail)
    assert [answer.content for answer in found if isinstance(answer.content, str)] == [sentence, sentence]


def test_a_reply_that_is_too_long_is_a_sentence() -> None:
    long = CARD.model_copy(update={"card": {"words": "x" * MAX_LINE_BYTES}})
    content = answers(encode_request(1, Info()), lambda _: long)[-1].content
    assert isinstance(content, str)
    assert content.startswith("The work stopped (ProtocolError): A line of 16,777,")


def test_fields_keep_their_types_and_numbers_that_are_not_finite() -> None:
    request = FindNearest(cell=("a.png", 3), groups={"ill": {"a.png": Path("evidence.npz")}})
    assert decode_request(encode_request(2, request)) == (2, request)
    reply = NearestCells(cell=("a.png", 3), groups={"ill": [("b.png", 1, float("inf"))]})
    content = decode_answer(encode_answer(2, reply)).content
    assert isinstance(content, dict)
    assert reply_to(request, content) == reply
    detect = Detect(image=Path("a.npy"), out=Path("b"))
    assert decode_request(encode_request(2, detect)) == (2, detect)


@pytest.mark.parametrize(
    "fields",
    [{"candidates": "a"}, {"candidates": "a", "diameter_px": "9"}, {"candidates": 3, "diameter_px": 9}],
)
def test_a_reply_without_a_field_or_with_another_type_is_refused(fields: dict[str, Any]) -> None:
    request = Detect(image=Path("a"), out=Path("b"))
    with pytest.raises(ProtocolError, match=r"^The reply to 'Detect' cannot be used: '.*\.$"):
        reply_to(request, fields)
    assert reply_to(request, {"candidates": "a", "diameter_px": 9}) == Detected(
        candidates=Path("a"), diameter_px=9.0
    )


@pytest.mark.parametrize(
    "record",
    [
        {"id": 1, "event": "Step", "stage": "a", "done": "1", "total": 2},
        {"id": 1, "event": "Step", "stage": "a", "done": 1},
        {"id": 1, "event": "Step", "stage": "a", "done": 1, "total": 2, "more": 3},
        {"id": 1, "event": "Sang"},
        {"id": 1},
        {"id": "1", "event": "Result", "fields": {}},
        {"id": 1, "event": "Result", "fields": []},
        {"id": 1, "event": "Error", "message": 3},
    ],
)
def test_a_line_that_is_no_answer_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode_answer(json.dumps(record).encode())


def test_each_kind_of_request_has_a_reply_and_a_name() -> None:
    assert len(REQUESTS) == 22
    assert all(issubclass(kind.reply, Reply) for kind in REQUESTS.values())
