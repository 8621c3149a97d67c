"""Write tensors and a text header to one safetensors file, atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from napari_amil.core.base.errors import AmilError, BundleError
from napari_amil.core.base.files import replacing


def write_tensors(tensors: Mapping[str, Tensor], header: dict[str, str], path: Path) -> None:
    """Write tensors from any device to ``path``: the file is the old or the new one, never half.

    Raises
    ------
    BundleError
        If the file cannot be written; nothing half written is left behind.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with replacing(path) as partial:
            safetensors.torch.save_file(plain, partial, metadata=header)
    except AmilError as error:
        raise BundleError(str(error)) from error
    except safetensors.SafetensorError as error:
        raise BundleError(f"Cannot write '{path}': {error}; check the folder and the free space.") from error
