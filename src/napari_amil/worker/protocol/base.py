"""Base classes of the messages between window and worker process."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Typed values that travel as JSON; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")


class Reply(Message):
    """The result of a job."""


class Request(Message):
    """Request to the worker: a job called like the class, whose result is a ``reply``."""

    reply: ClassVar[type[Reply]]


class FieldInput(Message):
    """One field of the window: a page of the file that it was opened from, or its array in a file.

    ``name`` is what messages call it; ``source`` is the file it came from, which may tell the pixel size.
    """

    image: Path
    page: int = 0
    name: str = ""
    source: Path | None = None
