"""Write a file in one step, read JSON, and refuse to open what is no regular file."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_amil.core.base.errors import AmilError

_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def special_kind(path: Path) -> str | None:
    """Return the kind of what stands at ``path`` where it is no regular file, None for a file or nothing.

    Links are followed. Opening a named pipe or a device can block for ever.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None  # opening the file gives the reason
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _KINDS if test(mode)), "special file")


def regular_file(path: Path, error: type[AmilError] = AmilError) -> Path:
    """Return ``path`` unless it is a folder, named pipe, socket or device; every reader calls this first.

    A path at which nothing stands is returned too, since opening it gives the reason.

    Raises
    ------
    AmilError
        Or the subclass given as ``error``.
    """
    kind = special_kind(path)
    if kind is not None:
        raise error(f"'{path}' is a {kind}, not a file; give a file.")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; what was written there takes the place of ``path`` only when it is whole.

    Raises
    ------
    AmilError
        If the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise AmilError(f"Cannot write '{path}': {error}; check the folder and the free space.") from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a dictionary as JSON; a number that is not finite is an error, since JSON has none."""
    text = json.dumps(content, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Return what a JSON file holds.

    Raises
    ------
    AmilError
        If the file is missing, no regular file or no JSON.
    """
    try:
        return json.loads(regular_file(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AmilError(f"Cannot read '{path}' as JSON: {error}; export it again.") from error
