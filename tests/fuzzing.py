"""Seeded mutations of small valid files, and the check that a reader raises nothing but `AmilError`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from napari_amil.core.base.errors import AmilError

CASES_VARIABLE = "NAPARI_AMIL_FUZZ_CASES"
"""Environment variable with the number of cases of each test, where it shall not be the default."""
SEED_VARIABLE = "NAPARI_AMIL_FUZZ_SEED"
"""Environment variable with the seed of the first case, 0 where it is not set."""
MAX_CPU_S = 10.0
"""Processor time in seconds that one hostile file may cost."""
MAX_BYTES = 2 * 2**30
"""Memory in bytes that one hostile file may cost."""

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_TEXTS = (
    b"",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"null",
    b"{}",
    b"[]",
    b'""',
    b"0,25",
    b"9" * 30,
    b"\xff\xfe",
    b"[" * 5000,
)


class HangError(BaseException):
    """One case took more than `MAX_CPU_S`; no reader catches it."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return content with one to four changes: bits, numbers, texts, cuts, and parts that are moved."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed) + 1)
        if rng.random() < 0.5:
            place = min(place, rng.randrange(200))  # headers lie at the beginning
        _change(changed, place, rng)
    return bytes(changed)


def _change(content: bytearray, place: int, rng: random.Random) -> None:
    kind = rng.choice(("bit", "byte", "number", "number", "text", "cut", "drop", "move"))
    if kind == "bit" and place < len(content):
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "byte" and place < len(content):
        content[place] = rng.randrange(256)
    elif kind == "number":
        size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
        number = rng.choice(_NUMBERS) % 2 ** (8 * size)
        content[place : place + size] = number.to_bytes(size, order)
    elif kind == "text":
        content[place : place + rng.choice((0, 1, 4))] = rng.choice(_TEXTS)
    elif kind == "cut":
        del content[place:]
    elif kind == "drop":
        del content[place : place + rng.randint(1, 64)]
    else:
        content[place:place] = content[: rng.randint(1, 64)]


def fuzz(
    read: Callable[[Path], Any], valid: Mapping[str, Path], folder: Path, default_cases: int
) -> dict[str, int]:
    """Read mutated copies of valid files or folders; return how many were read and how many refused.

    Parameters
    ----------
    read
        Is called with the path of each copy.
    valid
        Files, or folders of which one file is mutated, by a name that the report of a failure shows.
    folder
        Where the copies lie, one after the other.
    default_cases
        Number of cases unless `CASES_VARIABLE` says otherwise.

    Raises
    ------
    AssertionError
        If a copy gives an error that is no `AmilError`, takes more than `MAX_CPU_S` of processor time
        or more than `MAX_BYTES` of memory; the message has the case, and the copy is kept.
    """
    counts = {"read": 0, "refused": 0}
    names = sorted(valid)
    first = int(os.environ.get(SEED_VARIABLE, "0"))
    for case in range(first, first + int(os.environ.get(CASES_VARIABLE, str(default_cases)))):
        rng = random.Random(case)
        name = names[case % len(names)]
        copy = _mutated_copy(valid[name], folder, rng)
        where = (
            f"case {case} of '{name}' ({SEED_VARIABLE}={case} {CASES_VARIABLE}=1 repeats it), file '{copy}'"
        )
        used, message = _peak_bytes(), ""
        try:
            with _limited_time():
                read(copy)
            counts["read"] += 1
        except AmilError as error:
            counts["refused"] += 1
            message = str(error)
        except (Exception, HangError) as error:
            raise AssertionError(f"{type(error).__name__} in {where}: {error}") from error
        assert "\n" not in message, f"a message of several lines in {where}: {message}"
        assert _peak_bytes() - used < MAX_BYTES, f"more than {MAX_BYTES} bytes of memory in {where}"
    return counts


def _mutated_copy(valid: Path, folder: Path, rng: random.Random) -> Path:
    """Write a mutated copy of a file, or of a folder with one mutated file."""
    copy = folder / f"mutated{valid.suffix}"
    if valid.is_dir():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(valid, copy)
        target = rng.choice(sorted(path for path in copy.rglob("*") if path.is_file()))
    else:
        target = copy
    source = valid / target.relative_to(copy) if valid.is_dir() else valid
    target.write_bytes(mutated(source.read_bytes(), rng))
    return copy


@contextmanager
def _limited_time() -> Iterator[None]:
    """Raise `HangError` once the work has taken `MAX_CPU_S` of processor time."""
    began = time.process_time()
    old = None
    if hasattr(signal, "SIGPROF"):
        old = signal.signal(signal.SIGPROF, _on_time)
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
    try:
        yield
    finally:
        if hasattr(signal, "SIGPROF"):
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, old)
    if time.process_time() - began > MAX_CPU_S:
        raise HangError(f"more than {MAX_CPU_S} s of processor time")


def _on_time(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"more than {MAX_CPU_S} s of processor time")


def _peak_bytes() -> int:
    """Return the largest memory of this process so far; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
