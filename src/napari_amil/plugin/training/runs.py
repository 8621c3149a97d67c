"""A training as a process with a run folder: start, pause, stop, cancel, resume, delete."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from qtpy.QtCore import QFile, QProcess

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import EVENTS_FILE, PAUSE_FILE, PROCESS_FILE, STOP_FILE, Ended, to_dict
from napari_amil.core.base.files import read_json, regular_file
from napari_amil.core.base.process import find_process, write_process
from napari_amil.plugin.training.run_commands import (
    ABLATION,
    DETECTOR,
    NETWORKS,
    TRAINING,
    RunCommand,
    check_arguments,
    command_line,
)
from napari_amil.plugin.training.run_folders import is_own, is_training, kill_tree, stand_back
from napari_amil.plugin.training.run_log import RunLog
from napari_amil.plugin.window.work import PYTHON, child_environment

PROGRAM = (*PYTHON, "-c", "from napari_amil.cli import main; main()")
COMMAND_FILE = "command.json"
"""Name of the file in a run folder that holds the arguments of the command line."""
OUTPUT_FILE = "output.txt"
"""Name of the file in a run folder that holds the standard error of the process."""
MODEL_FILE = "bundle.safetensors"
_CHECKPOINT = "checkpoint.safetensors"
_QUOTED_CHARACTERS = 1000
_OUTPUT_READ = 4000
_ROOM_BYTES = 1_000_000
"""Free space below which a run that died without a word died of it."""
ALIVE = frozenset({"starting", "running", "paused", "stopping"})
"""States of a run whose process is alive."""
_DONE = {
    TRAINING: "Done: the model is ready.",
    DETECTOR: "Done: compare the new detector with the old one, then use it or go back.",
    NETWORKS: "Done: the model has the new scores, and redraws cells on the Cell card.",
    ABLATION: "Done: how far the results vary is below.",
}
_GOES_ON = {
    TRAINING: "the last whole epoch",
    DETECTOR: "the last checkpoint",
    NETWORKS: "the last whole epoch",
    ABLATION: "the last whole training",
}
_TRACES = {"images.csv": DETECTOR, "table.csv": ABLATION, "checkpoints": NETWORKS}
"""Files by which the kind of a run is known that a terminal started."""


@dataclass(frozen=True)
class Status:
    """State of a run, as a word for programs and a sentence for people."""

    state: str
    sentence: str

    @property
    def is_alive(self) -> bool:
        """Whether its process is alive."""
        return self.state in ALIVE


class Run:
    """The training in one run folder.

    Parameters
    ----------
    folder
        The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = RunLog(folder)
        self.is_cancelling = False
        self._time_before_start: float | None = None

    @classmethod
    def from_command(cls, command: RunCommand) -> Run:
        """Write the folder of a run: its settings and the command.

        Raises
        ------
        AmilError
            If the folder holds something else, or cannot be written.
        """
        command.write_settings()
        record = json.dumps({"arguments": command.arguments()}, indent=2)
        try:
            (command.out / COMMAND_FILE).write_text(record, encoding="utf-8")
        except OSError as error:
            with suppress(OSError):  # half a file of a full disk, for which the folder would be refused
                (command.out / COMMAND_FILE).unlink(missing_ok=True)
            raise AmilError(
                f"The run folder '{command.out}' cannot be written ({error.strerror}); choose another one."
            ) from error
        return cls(command.out)

    def arguments(self) -> list[str]:
        """Return the arguments with which it was started, empty if the window did not start it."""
        try:
            given = read_json(self.folder / COMMAND_FILE)["arguments"]
        except (AmilError, KeyError, TypeError):
            return []
        return [str(part) for part in given] if isinstance(given, list) else []

    @property
    def kind(self) -> str:
        """The kind of the run, named like its command; a training if unknown."""
        given = self.arguments()
        if given:
            return given[0] if given[0] in _DONE else TRAINING
        traces = (kind for name, kind in _TRACES.items() if (self.folder / name).exists())
        return next(traces, TRAINING)

    def command(self) -> str:
        """Return the line for a terminal that does the same."""
        return command_line(self.arguments())

    def start(self) -> None:
        """Start the process, or start it again where it was; it lives on when the window is gone.

        Raises
        ------
        AmilError
            If it cannot be started, or its command is another user's or no training.
        """
        if find_process(self.folder / PROCESS_FILE) is not None:
            raise AmilError(f"The training in '{self.folder}' is running already.")
        command, arguments = self.folder / COMMAND_FILE, self.arguments()
        if not is_own(command):
            raise AmilError(
                f"'{command}' belongs to another user and is not run; start a training of your own."
            )
        check_arguments(arguments, self.folder)
        for left_over in (PAUSE_FILE, STOP_FILE):
            (self.folder / left_over).unlink(missing_ok=True)
        self._time_before_start = self.log.time
        process = QProcess()
        process.setProcessEnvironment(child_environment())
        process.setProgram(PROGRAM[0])
        process.setArguments([*PROGRAM[1:], *arguments])
        process.setStandardInputFile(QProcess.nullDevice())
        process.setStandardOutputFile(QProcess.nullDevice())
        process.setStandardErrorFile(str(self.folder / OUTPUT_FILE))
        started: Any = process.startDetached()
        is_started, pid = started if isinstance(started, tuple) else (started, 0)
        if not is_started:
            raise AmilError(f"The training could not be started: {process.errorString()}; try again.")
        with suppress(psutil.Error):  # it may be over already
            write_process(self.folder / PROCESS_FILE, psutil.Process(int(pid)))
        stand_back(int(pid))

    def status(self) -> Status:
        """Return the state of the run now."""
        if not self.folder.is_dir():
            return Status("missing", f"The folder '{self.folder}' cannot be found; was a drive unplugged?")
        if find_process(self.folder / PROCESS_FILE) is not None:
            return self._living()
        if self.is_cancelling:
            self._end_cancelled()
        if (self.folder / PROCESS_FILE).exists():
            return self._dead()
        ended = self._ended_event()
        if ended is None and self._disk_is_full():
            return self._dead()
        if ended is None:
            return Status("interrupted", "It is not running. Resume goes on where it was.")
        if ended.outcome == "failed":
            return Status("failed", ended.reason)
        if ended.outcome == "cancelled":
            return Status("cancelled", f"Cancelled. Resume goes on after {_GOES_ON[self.kind]}.")
        return Status("finished", _DONE[self.kind])

    def pause(self, wanted: bool) -> None:
        """Make the process wait between two steps, or go on."""
        if wanted:
            (self.folder / PAUSE_FILE).touch()
        else:
            (self.folder / PAUSE_FILE).unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask for an end after the epoch that runs, with the best weights so far."""
        (self.folder / STOP_FILE).touch()

    def cancel(self) -> None:
        """End the process at once; the checkpoint of the last whole epoch stays.

        Raises
        ------
        AmilError
            If the process is no training of this program and user.
        """
        file = self.folder / PROCESS_FILE
        process = find_process(file)
        if process is None:
            return
        if not is_own(file) or not is_training(process):
            raise AmilError(
                f"Process {process.pid}, which '{file}' names, is no training of yours and was not ended."
            )
        self.is_cancelling = True
        kill_tree(process)

    def can_resume(self) -> bool:
        """Return whether there is a command to give again."""
        return bool(self.arguments())

    def model(self) -> Path | None:
        """Return the finished model, None while there is none."""
        path = self.folder / MODEL_FILE
        return path if path.is_file() else None

    def start_model(self) -> str | None:
        """Return the model that the fine-tuning of a detector started from, None for the starter."""
        given = self.arguments()
        start = given[given.index("--start") + 1] if "--start" in given[:-1] else ""
        return start if start not in {"", "starter", "nothing"} else None

    def throw_away(self) -> None:
        """Move the folder to the bin.

        Raises
        ------
        AmilError
            If there is no bin for it; then nothing was changed.
        """
        if not self.folder.exists():
            return
        moved: Any = QFile.moveToTrash(str(self.folder))
        if not (moved[0] if isinstance(moved, tuple) else moved):
            raise AmilError(f"'{self.folder}' could not be moved to the bin; delete it in your file manager.")

    def _living(self) -> Status:
        if self.is_cancelling:
            return Status("stopping", "Cancelling …")
        if (self.folder / STOP_FILE).exists():
            return Status("stopping", "Finishing with the best weights so far …")
        if (self.folder / PAUSE_FILE).exists():
            return Status("paused", "Paused between two steps.")
        if self._is_silent():
            return Status("starting", "Starting …")
        return Status("running", "Running")

    def _is_silent(self) -> bool:
        """Return True while the process has written no event; until then it obeys no pause or stop."""
        return self.log.time == self._time_before_start or (self.log.step is None and self.log.now is None)

    def _dead(self) -> Status:
        """Return the status of a run whose process is gone and did not say goodbye."""
        if self._disk_is_full():
            return Status(
                "interrupted",
                f"The disk that holds '{self.folder}' is full: free some space, then press Resume to go on "
                f"after {_GOES_ON[self.kind]}.",
            )
        message = self._last_output()
        if message and self.log.now is None and not (self.folder / _CHECKPOINT).exists():
            return Status("failed", message)
        words = f" Its last output: {message}" if message else ""
        return Status(
            "interrupted",
            "The training process was ended from outside, perhaps for want of memory. Resume goes on after "
            f"{_GOES_ON[self.kind]}.{words}",
        )

    def _ended_event(self) -> Ended | None:
        """Return the final event of a process that is gone; it may be newer than the log."""
        if self.log.ended is None:
            with suppress(OSError):  # of a folder that is gone, which the next look tells
                self.log.poll()
        return self.log.ended

    def _disk_is_full(self) -> bool:
        """Return whether there is no room left for the files of a run."""
        try:
            return shutil.disk_usage(self.folder).free < _ROOM_BYTES
        except OSError:
            return False

    def _last_output(self) -> str:
        try:
            with regular_file(self.folder / OUTPUT_FILE).open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _OUTPUT_READ, 0))
                text = file.read().decode(errors="replace")
        except (AmilError, OSError):
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:_QUOTED_CHARACTERS] if lines else ""

    def _end_cancelled(self) -> None:
        """Note in the log of a process that was killed here that this was wanted."""
        self.is_cancelling = False
        (self.folder / PROCESS_FILE).unlink(missing_ok=True)
        record = {"time": round(time.time(), 3), **to_dict(Ended("cancelled"))}
        with (self.folder / EVENTS_FILE).open("a", encoding="utf-8") as log:
            log.write("\n" + json.dumps(record) + "\n")  # the line before may be half written
        self.log.poll_all()
