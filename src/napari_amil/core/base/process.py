"""The process that works in a run folder, noted in its ``process.json``."""

from __future__ import annotations

from pathlib import Path

import psutil

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json, write_exact_json


def write_process(file: Path, process: psutil.Process) -> None:
    """Note number and start time of a process.

    Raises
    ------
    AmilError
        If the file cannot be written.
    """
    write_exact_json({"pid": process.pid, "created": process.create_time()}, file)


def find_process(file: Path) -> psutil.Process | None:
    """Return the process that ``process.json`` names, None if it is no longer alive.

    Numbers of processes are used again, so that the start time must fit too.
    """
    try:
        noted = read_json(file)
        process = psutil.Process(int(noted["pid"]))
        is_same = abs(process.create_time() - float(noted["created"])) < 1.0
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (AmilError, ValueError, KeyError, TypeError, OverflowError, psutil.Error):
        return None
