"""A file of tensors is the old or the new one, whatever happens while it is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.tensorfile import write_tensors


def test_tensors_and_header_come_back_and_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.safetensors"
    transposed = torch.arange(6.0).reshape(2, 3).T
    write_tensors({"a": transposed}, {"format": "test"}, path)
    torch.testing.assert_close(load_file(path)["a"], transposed)
    with safe_open(path, framework="pt") as stored:
        assert stored.metadata() == {"format": "test"}
    assert [entry.name for entry in path.parent.iterdir()] == ["file.safetensors"]
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match=r"Cannot write .*check the folder"):
        write_tensors({"a": torch.zeros(1)}, {}, tmp_path / "file" / "x.safetensors")


def test_a_full_disk_keeps_the_old_file_and_leaves_no_half_one(
    tmp_path: Path, small_files: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "file.safetensors"
    write_tensors({"a": torch.ones(2)}, {}, path)
    with small_files(4096), pytest.raises(BundleError, match="free space"):
        write_tensors({"a": torch.ones(100_000)}, {}, path)
    torch.testing.assert_close(load_file(path)["a"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.safetensors"]
