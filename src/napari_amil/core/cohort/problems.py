"""A problem of a cohort: severity, kind, and a sentence with the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_MAX_NAMES = 3

Severity = Literal["error", "warning"]

Kind = Literal[
    "boxes-outside",
    "confounding",
    "empty-bags",
    "few-cells",
    "few-patients",
    "leaking-images",
    "leaking-patients",
    "missing-values",
    "mixed-labels",
    "unreadable-images",
]
"""Kinds of problems; ``--allow KIND`` lets a training start in spite of one."""


@dataclass(frozen=True)
class Problem:
    """One thing that makes results wrong (error) or weak (warning), with its remedy."""

    severity: Severity
    message: str
    kind: Kind


def enumerate_names(names: Iterable[object]) -> str:
    """Return an enumeration of names, at most three and the number of others."""
    parts = [f"'{name}'" if isinstance(name, str) else str(name) for name in names]
    if len(parts) > _MAX_NAMES:
        parts = [*parts[:_MAX_NAMES], f"{len(parts) - _MAX_NAMES} more"]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
