"""Crops of cells from a normalised field, all at one scale."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import roi_align

from napari_amil.core.base.settings import CropSettings

_CROPS_AT_ONCE = 1024  # bounds the memory of the resampling
_MARGIN_PX = 2  # background around the field, so that no sample is clamped to its outermost pixel


def extract_crops(
    normalised: NDArray[np.float32], boxes: NDArray[np.float32], diameter_px: float, settings: CropSettings
) -> NDArray[np.float32]:
    """Return one square crop per box; pixels outside the field are background, 1.0.

    The window has the side ``settings.field * diameter_px`` and the centre of the box. It is resampled
    by averaging bilinear samples that lie at most one pixel apart (RoIAlign), which does not alias.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.0.
    boxes
        ``(n_cells, 4)`` as ``y0, x0, y1, x1``; pixel ``i`` reaches from ``i`` to ``i + 1``.
    diameter_px
        Typical diameter of the cells of this field in pixels.
    settings
        Side of the window and of the crop, and how much around the box is kept.

    Returns
    -------
    ``(n_cells, 3, size_px, size_px)`` float32, in the order of the boxes.
    """
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    darkness = torch.from_numpy(1.0 - np.moveaxis(normalised, -1, 0).astype(np.float32))
    darkness = torch.nn.functional.pad(darkness, [_MARGIN_PX] * 4)
    crops = np.empty((len(boxes), 3, settings.size_px, settings.size_px), dtype=np.float32)
    for start in range(0, len(boxes), _CROPS_AT_ONCE):
        rows = slice(start, start + _CROPS_AT_ONCE)
        windows = _windows(boxes[rows], settings.field * diameter_px)
        kept = _resample(darkness, windows, settings.size_px)
        if settings.outside_margin is not None:
            kept *= _coverage(boxes[rows], windows, settings.outside_margin * diameter_px, settings.size_px)
        np.subtract(1.0, kept, out=crops[rows])
    return crops


def _windows(boxes: NDArray[np.float32], side_px: float) -> NDArray[np.float32]:
    """Return the square windows ``(n, 4)`` of one side around the centres of the boxes."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([centres - side_px / 2, centres + side_px / 2], axis=1, dtype=np.float32)


def _resample(darkness: torch.Tensor, windows: NDArray[np.float32], size_px: int) -> NDArray[np.float32]:
    """Return the windows of ``(3, h, w)`` as ``(n, 3, size_px, size_px)``; outside is 0."""
    corners = torch.from_numpy(windows[:, [1, 0, 3, 2]] + _MARGIN_PX)
    side_px = float(windows[0, 2] - windows[0, 0])
    samples = max(1, math.ceil(side_px / size_px - 1e-3))
    crops = roi_align(darkness[None], [corners], size_px, sampling_ratio=samples, aligned=True)
    return np.asarray(crops.numpy(), dtype=np.float32)


def _coverage(
    boxes: NDArray[np.float32], windows: NDArray[np.float32], margin_px: float, size_px: int
) -> NDArray[np.float32]:
    """Return the share ``(n, 1, size_px, size_px)`` of each crop pixel inside its widened box."""
    step_px = (windows[:, 2:] - windows[:, :2]) / size_px
    edges = windows[:, :2, None] + step_px[:, :, None] * np.arange(size_px, dtype=np.float32)
    first = np.maximum(edges, (boxes[:, :2] - margin_px)[:, :, None])
    last = np.minimum(edges + step_px[:, :, None], (boxes[:, 2:] + margin_px)[:, :, None])
    along = np.clip((last - first) / step_px[:, :, None], 0.0, 1.0)
    covered = along[:, 0, None, :, None] * along[:, 1, None, None, :]
    return np.asarray(covered, dtype=np.float32)
