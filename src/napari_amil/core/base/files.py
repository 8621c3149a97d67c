"""Write a file in one step, and read JSON with a sentence when it is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_amil.core.base.errors import AmilError


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
        If the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AmilError(f"Cannot read '{path}' as JSON: {error}; export it again.") from error
