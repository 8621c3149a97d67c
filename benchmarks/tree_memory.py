"""Memory and processor seconds of a command and all processes below it, sampled while it runs (Linux)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

_EVERY_S = 0.25


@dataclass
class Usage:
    """What a command used so far, and its peaks.

    Parameters
    ----------
    resident_gb, shared_once_gb
        Memory of all its processes now; pages that they share count for each of them, or once (PSS).
    peaks
        The largest of both at any look.
    processor_s
        Seconds of the processor of all processes, ended ones as last seen.
    """

    resident_gb: float = 0.0
    shared_once_gb: float = 0.0
    peaks: tuple[float, float] = (0.0, 0.0)
    processor_s: float = 0.0
    _ended: dict[int, float] = field(default_factory=dict)

    def look(self, root: psutil.Process) -> None:
        """Read the memory and seconds of a process and those below it."""
        resident = once = 0
        with suppress(psutil.Error):
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.Error):
                    memory, times = process.memory_full_info(), process.cpu_times()
                    resident, once = resident + memory.rss, once + memory.pss
                    self._ended[process.pid] = times.user + times.system
        self.resident_gb, self.shared_once_gb = resident / 1e9, once / 1e9
        self.peaks = max(self.peaks[0], self.resident_gb), max(self.peaks[1], self.shared_once_gb)
        self.processor_s = sum(self._ended.values())


def run_watched(words: Sequence[object], on_line: Callable[[Usage, str], None] | None = None) -> Usage:
    """Run ``napari-amil`` with these words to its end and return what it used; raise if it fails.

    Its memory is read four times a second. ``on_line`` gets each line that it prints, after another look.
    """
    command = [sys.executable, "-m", "napari_amil", *map(str, words)]
    used, lock = Usage(), threading.Lock()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        root = psutil.Process(process.pid)

        def look() -> None:
            with lock:
                used.look(root)

        watch = threading.Thread(target=_repeat, args=(look, process))
        watch.start()
        for line in process.stdout or ():
            if on_line is not None:
                look()
                on_line(used, line)
        watch.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return used


def _repeat(look: Callable[[], None], process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        look()
        time.sleep(_EVERY_S)
