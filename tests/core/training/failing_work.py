"""Work that another process can import by name, and that fails in it."""

from __future__ import annotations

from collections.abc import Generator

import torch

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step


def fail(device: torch.device, at_rank: int) -> Generator[Event, None, None]:
    """Say something, then fail in one of the processes."""
    yield Step("work", 0, 1)
    if torch.distributed.get_rank() == at_rank:
        raise AmilError(f"Process {at_rank} has no cells.")
    torch.distributed.barrier()
