"""One process holds a folder, until it ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.locks import LOCK_FILE, locked

HOLD = (
    "import sys, pathlib; from napari_amil.core.base.locks import locked\n"
    "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_is_held_on_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    refused = pytest.raises(AmilError, match=r"\(number unknown\) is writing into")
    with locked(tmp_path), refused, locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(AmilError, match=rf"number {holder.pid}\) is writing into"), locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []
