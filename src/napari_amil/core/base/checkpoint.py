"""Checkpoints: all that a training needs to go on after a crash, in one file without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import decoding
from napari_amil.core.base.tensorfile import write_tensors

FORMAT = "napari-amil checkpoint 1"


def write_checkpoint(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write tensors and a JSON record to ``path`` in one step: the file is never half written."""
    own = {name: tensor.detach().clone() for name, tensor in tensors.items()}  # a file holds no shared memory
    write_tensors(own, {"format": FORMAT, "record": json.dumps(record)}, path)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the record that `write_checkpoint` wrote.

    Raises
    ------
    BundleError
        If the file is missing, damaged or of another format.
    """
    with (
        decoding(path, "cannot be read as a checkpoint", "start the training anew", BundleError),
        safetensors.safe_open(path, framework="pt") as file,
    ):
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    if metadata.get("format") != FORMAT:
        raise BundleError(
            f"'{path}' is not a checkpoint of this program (format {metadata.get('format')!r})."
        )
    with decoding(path, "holds a damaged record", "start the training anew", BundleError):
        return tensors, dict(json.loads(metadata["record"]))


def flatten_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments of an optimiser as ``"<parameter>.<name>" -> tensor``."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in state.items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """Put the moments that `flatten_optimiser` returned back into a like optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        number, name = key.split(".", maxsplit=1)
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    for parameter, moments in optimiser.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:  # a fused step takes them to lie in memory as the weights do
                moments[name] = torch.empty_like(parameter).copy_(value)


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under ``"<prefix>/<name>"``."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``"<prefix>/"``, without it."""
    return {
        name.removeprefix(f"{prefix}/"): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}/")
    }
