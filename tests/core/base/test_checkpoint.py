"""A checkpoint comes back as it was written, or is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from napari_amil.core.base.checkpoint import (
    flatten_optimiser,
    read_checkpoint,
    restore_optimiser,
    under_prefix,
    with_prefix,
    write_checkpoint,
)
from napari_amil.core.base.errors import BundleError


def test_tensors_and_record_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(True), "c": torch.randn(3, 2).T}
    write_checkpoint(tmp_path / "new" / "x.safetensors", tensors, {"epoch": 3, "loss": float("inf")})
    found, record = read_checkpoint(tmp_path / "new" / "x.safetensors")
    assert record == {"epoch": 3, "loss": float("inf")}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, {"a": torch.ones(1)}, {})
    with pytest.raises(TypeError):
        write_checkpoint(path, {"a": torch.zeros(1)}, {"bad": object()})
    assert read_checkpoint(path)[0]["a"].item() == 1


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 64])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="cannot be read as a checkpoint"):
        read_checkpoint(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "none")
    save_file({"a": torch.ones(1)}, tmp_path / "foreign")
    with pytest.raises(BundleError, match="not a checkpoint of this program"):
        read_checkpoint(tmp_path / "foreign")


def test_the_moments_of_an_optimiser_come_back() -> None:
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), 0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    other = torch.optim.AdamW(layer.parameters(), 0.1)
    restore_optimiser(other, flatten_optimiser(optimiser))
    before, after = flatten_optimiser(optimiser), flatten_optimiser(other)
    assert before.keys() == after.keys()
    assert "0.exp_avg" in before
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_prefixes_part_and_join() -> None:
    tensors = {"w": torch.ones(1), "v": torch.zeros(1)}
    together = with_prefix("model", tensors) | with_prefix("models", {"x": torch.ones(2)})
    assert under_prefix("model", together) == tensors
