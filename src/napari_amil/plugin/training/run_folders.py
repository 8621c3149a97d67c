"""Run folders: the user's list of them, the next free one, and the process that works in one."""

from __future__ import annotations

import json
import os
import time
from itertools import count
from pathlib import Path

import psutil
from qtpy.QtCore import QStandardPaths

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json
from napari_amil.plugin.training.run_commands import KINDS

_FILE = "runs.json"
NICE = 5
"""Niceness of a training, so that the window comes first."""


def user_folder() -> Path:
    """Return the folder in which this program keeps what belongs to the user."""
    base = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(base or Path.home(), "napari-amil")


class RunRegistry:
    """Run folders, the latest first, kept in ``runs.json``.

    Parameters
    ----------
    folder
        Folder of the list; None for the user's own folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = (folder or user_folder()) / _FILE

    def folders(self) -> list[Path]:
        """Return the run folders; a list that is missing or damaged is empty."""
        try:
            return [Path(str(folder)) for folder in read_json(self._file)]
        except (AmilError, TypeError):
            return []

    def add(self, folder: Path) -> None:
        """Put a run first; what another window added meanwhile stays.

        Raises
        ------
        AmilError
            If the list cannot be written.
        """
        folder = folder.absolute()
        self._write([folder, *(known for known in self.folders() if known != folder)])

    def remove(self, folder: Path) -> None:
        """Forget a run; its folder stays."""
        self._write([known for known in self.folders() if known != folder])

    def _write(self, folders: list[Path]) -> None:
        partial = self._file.with_suffix(".partial")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps([str(folder) for folder in folders], indent=2), encoding="utf-8")
            partial.replace(self._file)
        except OSError as error:
            raise AmilError(
                f"The list of runs '{self._file}' cannot be written ({error.strerror}); the training goes "
                "on, but a new window will not find it by itself: open its folder there."
            ) from error


def fresh_folder(cohort: Path) -> Path:
    """Return a folder that does not exist yet: beside the cohort, or with the user's own files.

    It never lies inside the cohort, whose folders are its classes; a cell list lies in the folder of its
    images.
    """
    root = cohort.absolute() if cohort.is_dir() else cohort.absolute().parent
    name = f"{root.name}-runs"
    base = root.parent if os.access(root.parent, os.W_OK) else user_folder()
    day = time.strftime("%Y-%m-%d")
    return next(path for number in count(1) if not (path := base / name / f"{day}-{number}").exists())


def stand_back(pid: int) -> None:
    """Let a process have the processor only after the window."""
    try:
        process = psutil.Process(pid)
        process.nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE))
    except psutil.Error:
        return


def is_own(path: Path) -> bool:
    """Return whether a file and the folder it lies in belong to this user; systems without owners agree."""
    if os.name == "nt":
        return True
    try:
        return {each.lstat().st_uid for each in (path, path.parent)} == {os.getuid()}
    except OSError:
        return False


def is_training(process: psutil.Process) -> bool:
    """Return whether a process is a training, by this program, of this user."""
    try:
        words = process.cmdline()
        is_ours = os.name == "nt" or process.uids().real == os.getuid()
    except psutil.Error:
        return False
    is_command = any(Path(word).stem == "napari-amil" for word in words)
    names_program = is_command or any("napari_amil" in word for word in words[1:])  # 0 is Python, anywhere
    return is_ours and names_program and bool(KINDS & set(words))


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
