"""Inputs of the encoders: pixels or feature maps of cells and, beside them, named measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PIXELS, _MEASUREMENTS, _CROPS = "pixels", "measurements", "crops"


@dataclass(frozen=True, eq=False)
class Instances:
    """Cells as tensors, row for row.

    Parameters
    ----------
    pixels
        ``(n, 3, size, size)`` crops, or ``(n, channels, h, w)`` feature maps.
    measurements
        ``(n, n_measurements)`` float32, NaN where one is unknown; None where nobody measured.
    """

    pixels: Tensor
    measurements: Tensor | None = None

    @classmethod
    def from_values(cls, values: Instances | Tensor | NDArray[Any]) -> Instances:
        """Return instances from an array of pixels, or from what `with_measurements` returned."""
        if isinstance(values, Instances):
            return values
        if isinstance(values, Tensor):
            return cls(values)
        if values.dtype.names is None:
            return cls(torch.from_numpy(values))
        parts = (torch.from_numpy(np.ascontiguousarray(values[name])) for name in (_PIXELS, _MEASUREMENTS))
        return cls(*parts)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: Any) -> Instances:  # noqa: ANN401 - as a tensor takes them
        return Instances(self.pixels[rows], None if self.measurements is None else self.measurements[rows])

    def to(self, device: torch.device) -> Instances:
        """Return the instances on a device."""
        moved = None if self.measurements is None else self.measurements.to(device)
        return Instances(self.pixels.to(device), moved)

    def split(self, size: int) -> Iterator[Instances]:
        """Yield parts of at most ``size`` cells."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the pixels, and the measurements if there are any."""
        return (self.pixels,) if self.measurements is None else (self.pixels, self.measurements)


def with_measurements(
    pixels: NDArray[Any], measurements: NDArray[Any], crops: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    """Return one array ``(n,)`` whose fields are the pixels and the measurements of each cell.

    It is indexed, concatenated and stored like any array, so both travel together. ``crops`` with masks
    ``(n, 4, size, size)`` are for anomaly scores that read pixels.
    """
    kind = [
        (_PIXELS, pixels.dtype, pixels.shape[1:]),
        (_MEASUREMENTS, np.float32, measurements.shape[1:]),
    ]
    if crops is not None:
        kind.append((_CROPS, np.uint8, crops.shape[1:]))
    joined = np.empty(len(pixels), dtype=kind)
    joined[_PIXELS], joined[_MEASUREMENTS] = pixels, measurements
    if crops is not None:
        joined[_CROPS] = crops
    return joined


def pixels_of(joined: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels of what `with_measurements` returned."""
    return joined[_PIXELS]


def measurements_of(joined: NDArray[Any]) -> NDArray[np.float32]:
    """Return the measurements ``(n, n_measurements)`` of what `with_measurements` returned."""
    return joined[_MEASUREMENTS]


def crops_of(joined: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return the crops with masks ``(n, 4, size, size)`` of what `with_measurements` returned, if kept."""
    names = joined.dtype.names or ()
    return joined[_CROPS] if _CROPS in names else None


def sizes_of(instances: NDArray[Any]) -> tuple[int, int]:
    """Return the channels of the pixels and the number of measurements of stored instances."""
    if instances.dtype.names is None:
        return int(instances.shape[1]), 0
    return int(instances.dtype[_PIXELS].shape[0]), int(instances.dtype[_MEASUREMENTS].shape[0])
