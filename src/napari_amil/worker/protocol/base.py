"""Base classes of the messages between window and worker process."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Typed values that travel as JSON; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")


class Reply(Message):
    """The result of a job."""


class Request(Message):
    """What the worker is asked for: a job called like the class, whose result is a ``reply``."""

    reply: ClassVar[type[Reply]]
