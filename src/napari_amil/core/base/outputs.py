"""Folders and small files of results: text, JSON, failures, and versions of packages."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Failed, json_ready
from napari_amil.core.base.files import replacing

_PACKAGES = ("napari-amil", "torch", "torchvision", "numpy", "scikit-image", "scikit-learn")


def make_folder(path: Path) -> Path:
    """Return the folder, made if need be.

    Raises
    ------
    AmilError
        If it cannot be made or is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AmilError(
            f"Cannot use '{path}' as output folder ({error.strerror}); choose another with --out."
        ) from error
    return path


def refuse_unwritable(folder: Path) -> None:
    """Make a folder if need be, and refuse one in which no file can be written, before work begins.

    Raises
    ------
    AmilError
        With the reason.
    """
    try:
        with tempfile.TemporaryFile(dir=make_folder(folder)):
            pass
    except OSError as error:
        raise AmilError(
            f"Cannot write into '{folder}': {error.strerror}; check its permissions and the free space."
        ) from error


def write_text(text: str, path: Path) -> None:
    """Write a text file atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(value: Any, path: Path) -> None:  # noqa: ANN401
    """Write JSON atomically; NaN becomes null."""
    write_text(json.dumps(json_ready(value), indent=2, ensure_ascii=False) + "\n", path)


def failure_table(failures: Iterable[Failed]) -> pd.DataFrame:
    """Return the table ``source, reason`` of inputs that could not be used."""
    return pd.DataFrame([(failed.source, failed.reason) for failed in failures], columns=["source", "reason"])


def environment() -> dict[str, str]:
    """Return the versions of Python, the system and the packages that decide a result."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "system": platform.platform(), **versions}
