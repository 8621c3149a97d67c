"""The process that works in a run folder: whether it is alive, and its end."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from napari_amil.core.base.errors import AmilError

NICE = 5
"""How far a training stands back behind the window."""


def write_process(file: Path, pid: int) -> None:
    """Note down which process works in a run folder, until it does so itself."""
    try:
        created = psutil.Process(pid).create_time()
        file.write_text(json.dumps({"pid": pid, "created": created}), encoding="utf-8")
    except psutil.Error:
        return  # it is over already, and its last words are read
    except OSError as error:
        raise AmilError(f"Cannot write '{file}' ({error.strerror}); choose another folder.") from error


def find_process(file: Path) -> psutil.Process | None:
    """Return the process that ``process.json`` names, None if it is no longer alive."""
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        process = psutil.Process(int(noted["pid"]))
        same = abs(process.create_time() - float(noted["created"])) < 1.0  # numbers are used again
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def stand_back(pid: int) -> None:
    """Let a process have the processor only after the window."""
    try:
        process = psutil.Process(pid)
        process.nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE))
    except psutil.Error:
        return


def kill_tree(process: psutil.Process) -> None:
    """End a process and all that it started, at once."""
    try:
        family = [*process.children(recursive=True), process]
    except psutil.Error:
        family = [process]
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
