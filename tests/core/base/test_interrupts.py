"""Ctrl-C while the program starts ends it with one sentence; work closes what it has open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_amil.core.base.interrupts import INTERRUPTED, STOPPED

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")
PROGRAM = """
import os, signal, sys

class Press:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
from napari_amil.__main__ import main
main()
print("done")
"""


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Let children hear Ctrl-C, though these tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(module: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(module=module), "check", str(tmp_path / "none")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["typer", "rich.progress", "napari_amil.core.cohort"])
def test_ctrl_c_during_an_import_is_one_sentence(tmp_path: Path, module: str) -> None:
    """The first two are imported before the arguments are read, the last by the command."""
    ended = run(module, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (INTERRUPTED, "", f"{STOPPED}\n")


def test_ctrl_c_stays_ignored_where_it_was(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child takes it over
    try:
        ended = run("typer", tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.returncode == 2
    assert "none" in ended.stderr
