"""Features of crops kept on disk by their content, so that no crop goes through a frozen network twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

FOLDER_VARIABLE = "NAPARI_AMIL_CACHE"
"""Environment variable that names another folder for the kept features."""
_AT_ONCE = 500


class FeatureCache:
    """Float32 features by the SHA-256 of the pixels, in one SQLite file for each network.

    A damaged or unwritable file is no error: the features are computed.

    Parameters
    ----------
    network
        Text that says which network and which standardisation made the features.
    """

    def __init__(self, network: str) -> None:
        folder = os.environ.get(FOLDER_VARIABLE) or platformdirs.user_cache_dir(
            "napari-amil", appauthor=False
        )
        name = hashlib.sha256(network.encode()).hexdigest()[:32]
        self.path = Path(folder) / "features" / f"{name}.sqlite"
        self.n_read = 0
        """Features that came from the file so far."""
        self.n_computed = 0
        """Features that were computed so far."""

    def recall(self, crops: Tensor, compute: Callable[[Tensor], Tensor], *, keep: bool) -> Tensor:
        """Return the features ``(n, d)`` of crops ``(n, 3, h, w)`` uint8, the unknown ones from ``compute``.

        Parameters
        ----------
        crops
            Pixels.
        compute
            Maps crops to features.
        keep
            Store what was computed; augmented crops never come again.
        """
        pixels = crops.detach().cpu().contiguous().numpy()
        keys = [hashlib.sha256(crop.data).digest() for crop in pixels]
        known = self._read(keys)
        new = [row for row, key in enumerate(keys) if key not in known]
        self.n_read += len(keys) - len(new)
        self.n_computed += len(new)
        if new:
            found = compute(crops[new]).detach().cpu().numpy().astype(np.float32)
            made = {keys[row]: values for row, values in zip(new, found, strict=True)}
            if keep:
                self._write(made)
            known |= made
        return torch.from_numpy(np.stack([known[key] for key in keys])).to(crops.device)

    def _read(self, keys: list[bytes]) -> dict[bytes, np.ndarray]:
        if not self.path.exists():
            return {}
        found: dict[bytes, np.ndarray] = {}
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as store:
                for start in range(0, len(keys), _AT_ONCE):
                    part = keys[start : start + _AT_ONCE]
                    marks = ",".join("?" * len(part))
                    rows = store.execute(f"SELECT key, value FROM features WHERE key IN ({marks})", part)
                    found |= {key: np.frombuffer(value, np.float32) for key, value in rows}
        except sqlite3.Error:
            return {}
        return found

    def _write(self, made: dict[bytes, np.ndarray]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=30)) as store, store:
                store.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB)")
                rows = [(key, values.tobytes()) for key, values in made.items()]
                store.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
        except (OSError, sqlite3.Error):
            return
