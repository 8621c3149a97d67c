"""Tensors and a text header in one safetensors file, written in one step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from napari_amil.core.base.errors import BundleError


def write_tensors(tensors: Mapping[str, Tensor], header: dict[str, str], path: Path) -> None:
    """Write tensors from any device to ``path``: the file is the old or the new one, never half.

    Raises
    ------
    BundleError
        If the file cannot be written; nothing half written is left behind.
    """
    partial = path.with_name(path.name + ".partial")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(plain, partial, metadata=header)
        partial.chmod(0o644)  # safetensors lets nobody else read
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"Cannot write '{path}': {error}; check the folder and the free space.") from error
    finally:
        if path.parent.is_dir():
            partial.unlink(missing_ok=True)
