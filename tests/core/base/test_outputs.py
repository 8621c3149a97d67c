"""A folder of results is tried before work begins."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.outputs import refuse_unwritable


def test_a_folder_is_tried_and_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_unwritable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []

    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(
        AmilError, match="a': Read-only file system; check its permissions and the free space"
    ):
        refuse_unwritable(tmp_path / "a")
