"""Receipt of a run: command, inputs, versions and hashes; seconds, memory and energy by stage."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.files import file_sha256
from napari_amil.core.base.outputs import environment, write_json

RECEIPT = "receipt.json"
"""Name of the file in the folder of a run."""
STARTER = "starter"
"""Name among the inputs of the model that comes with the program."""
START = "start"
"""Stage before the first event of the work."""
_COUNTERS = Path("/sys/class/powercap")
_STATUS = Path("/proc/self/status")
_WATTS = 10.0  # of a busy core, where no counter of the processor can be read
_SECONDS_BETWEEN_LOOKS = 1.0
_WHOLE_BYTES = 2**28  # larger files are known by their size and three parts
_PART_BYTES = 2**20


@dataclass(frozen=True)
class Used:
    """Usage of processes so far: processor seconds, bytes, joules of the counter (NaN without one)."""

    processor_s: float
    memory_bytes: int
    joules: float


@dataclass
class Receipt:
    """Counts the usage of a run, stage by stage.

    Parameters
    ----------
    command
        Words of the command; a path is ``{"path": absolute}``.
    """

    command: list[Any] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_bytes: int = 0
    _stage: str = START
    _began: float = field(default_factory=lambda: time.monotonic())
    _started: float = field(default_factory=time.time)
    _meter: Meter = field(default_factory=lambda: Meter())
    _looked: float = -_SECONDS_BETWEEN_LOOKS
    _before: Used = field(default_factory=lambda: Used(0.0, 0, 0.0))

    def heard(self, event: Event) -> None:
        """Add the usage until this event to the stage that ran."""
        stage = event.stage if isinstance(event, Step) else self._stage
        now = time.monotonic()
        if stage != self._stage or now - self._looked >= _SECONDS_BETWEEN_LOOKS:
            self._count(now)
        self._stage = stage

    def reads(self, files: Mapping[str, Path]) -> None:
        """Note files on which the results depend, by absolute path, or `STARTER`."""
        self.files |= files

    def write(self, out: Path, name: str = RECEIPT) -> None:
        """Write the receipt into the folder of the run; paths are noted relative to it, too."""
        self._count(time.monotonic())
        command = [
            {**word, "relative": os.path.relpath(word["path"], out.resolve())}
            if isinstance(word, dict)
            else word
            for word in self.command
        ]
        inputs = {
            place if place == STARTER else os.path.relpath(place, out.resolve()): fingerprint(path)
            for place, path in sorted(self.files.items())
            if path.is_file()
        }
        totals = {
            key: sum(stage[key] for stage in self.stages.values())
            for key in ("seconds", "processor_s", "joules")
        }
        content = {
            "command": command,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            **totals,
            "energy_from": self._meter.how,
            "peak_memory_bytes": self.peak_bytes,
            "stages": self.stages,
            "versions": environment(),
            "inputs": inputs,
        }
        write_json(content, out / name)

    def _count(self, now: float) -> None:
        used = self._meter.read()
        processor_s = max(used.processor_s - self._before.processor_s, 0.0)
        joules = used.joules - self._before.joules if self._meter.is_counter else _WATTS * processor_s
        stage = self.stages.setdefault(self._stage, {"seconds": 0.0, "processor_s": 0.0, "joules": 0.0})
        for name, value in (("seconds", now - self._began), ("processor_s", processor_s), ("joules", joules)):
            stage[name] = round(stage[name] + max(value, 0.0), 3)
        self.peak_bytes = max(self.peak_bytes, used.memory_bytes)
        self._before, self._began, self._looked = used, now, now


class Meter:
    """Reads the usage of this process and those below it, and the energy counters of the processor."""

    def __init__(self, counters: Path = _COUNTERS) -> None:
        self._process = psutil.Process()
        self._ended: dict[int, float] = {}
        packages = sorted(counters.glob("intel-rapl:[0-9]*")) if counters.is_dir() else []
        self._packages = [
            path for path in packages if path.name.count(":") == 1 and _counter(path) is not None
        ]
        self._raw: dict[Path, float] = {path: _counter(path) or 0.0 for path in self._packages}
        self._joules = 0.0

    @property
    def is_counter(self) -> bool:
        """Whether the processor has counters that may be read."""
        return bool(self._packages)

    @property
    def how(self) -> str:
        """Source of the energy figure, in a sentence."""
        if self.is_counter:
            return "Counters of the processor (RAPL), which count other programs too; without graphics cards."
        return (
            f"Estimated: {_WATTS:g} W for every busy core, since no counter of the processor can be read; "
            "without graphics cards."
        )

    def read(self) -> Used:
        """Return the usage so far; ended processes count as they were last seen."""
        memory = 0  # of all now, or of this process at most if that is more
        for process in [self._process, *self._below()]:
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._ended[process.pid] = times.user + times.system
                memory += process.memory_info().rss
        memory = max(memory, _own_peak())
        for path in self._packages:
            value = _counter(path) or 0.0
            self._joules += max(value - self._raw[path], 0.0)  # a counter that began anew loses one span
            self._raw[path] = value
        return Used(sum(self._ended.values()), memory, self._joules)

    def _below(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return list(self._process.children(recursive=True))
        return []


def _own_peak() -> int:
    """Return the most memory that this process has had, in bytes; 0 where the system keeps no count."""
    with suppress(OSError, StopIteration):
        lines = _STATUS.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return 0


def _counter(package: Path) -> float | None:
    """Return the joules that a package of the processor has counted, None if they may not be read."""
    try:
        return int((package / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None


def fingerprint(path: Path) -> str:
    """Return ``sha256:...`` of a file; of a large one ``parts:...``, of its size, start, middle and end."""
    size = path.stat().st_size
    if size <= _WHOLE_BYTES:
        return f"sha256:{file_sha256(path)}"
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for start in (0, size // 2, size - _PART_BYTES):
            stream.seek(start)
            found.update(stream.read(_PART_BYTES))
    return f"parts:{found.hexdigest()}"


def summary(receipt: dict[str, Any]) -> str:
    """Return time, memory and energy of a receipt in one line."""
    kind = "estimated" if str(receipt["energy_from"]).startswith("Estimated") else "measured"
    return (
        f"{receipt['seconds']:,.0f} seconds, {receipt['processor_s']:,.0f} of the processor, "
        f"{receipt['peak_memory_bytes'] / 1e9:.1f} GB of memory at most, "
        f"{receipt['joules'] / 3600:.2f} Wh ({kind})"
    )
