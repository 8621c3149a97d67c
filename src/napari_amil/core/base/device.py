"""Choice of the device, and seeding of every random generator."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from napari_amil.core.base.errors import DeviceError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pick_device(wanted: str = "auto") -> torch.device:
    """Return the torch device for ``auto``, ``cpu``, ``cuda`` or ``mps``.

    ``auto`` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    DeviceError
        If the wanted device is not present.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, here in present.items() if here))
    if wanted not in present:
        raise DeviceError(f"There is no device called '{wanted}'; choose auto, cpu, cuda or mps.")
    if not present[wanted]:
        found = ", ".join(name for name, here in present.items() if here)
        raise DeviceError(f"No '{wanted}' device was found here (found: {found}); choose auto.")
    return torch.device(wanted)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries below us may use the global state
    torch.manual_seed(seed)


def one_thread() -> None:
    """Compute with one thread from here on: sums do not depend on how many processors there are."""
    torch.set_num_threads(1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes that start here compute with one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def device_names() -> dict[str, str]:
    """Return the available devices: ``name for --device -> name for people``, the best first."""
    found = {}
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        found["cuda"] = f"{torch.cuda.get_device_name()} ({memory:.0f} GB)"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple graphics (MPS)"
    return found | {"cpu": f"Processor ({torch.get_num_threads()} threads)"}
