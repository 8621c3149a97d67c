"""Read arrays from NumPy's zip files, and check declared against real sizes."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_COMPRESSION = 1100  # deflate reaches 1032


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``npz`` file by name; nothing in it is unpickled.

    Raises
    ------
    ValueError
        If an array claims another size than its part of the file has, before memory is taken for it.
    """
    with zipfile.ZipFile(path) as parts:
        if sum(part.file_size for part in parts.infolist()) > _MOST_COMPRESSION * path.stat().st_size:
            raise ValueError("it claims more bytes than it can hold")
        for part in parts.infolist():
            with parts.open(part) as stream:
                version = np.lib.format.read_magic(stream)
                old = version == (1, 0)
                read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
                shape, _, kind = read(stream)
                if math.prod(shape) * kind.itemsize > part.file_size:
                    raise ValueError(f"'{part.filename}' claims more numbers than it holds")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
