"""Windows that cover a field: where they lie, which cells are theirs, how they become a batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

TILE_OVERLAP_PX = 80
"""Two typical cells at the network's scale: a cell at a seam lies whole in one of two tiles."""
SEAM_SLACK_PX = 6
"""How far two tiles may disagree on the centre of a cell before it could be lost between them."""
_STRIDE_PX = 32  # tiles are padded with background to a multiple of this

Window = tuple[slice, slice]
"""Rows and columns of a tile, in pixels at the network's scale."""


def tile_rows(shape: tuple[int, ...], side: int) -> Iterator[list[Window]]:
    """Yield, row by row, windows that cover ``(height, width)`` and overlap by two typical cells."""
    step = side - TILE_OVERLAP_PX
    ys, xs = (range(0, max(length - TILE_OVERLAP_PX, 1), step) for length in shape)
    for y in ys:
        yield [(slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1]))) for x in xs]


def tiles(shape: tuple[int, ...], side: int) -> list[Window]:
    """Return all windows of `tile_rows`."""
    return [window for row in tile_rows(shape, side) for window in row]


def away_from_seams(boxes: Tensor, tile: Window, shape: tuple[int, ...], slack: float = 0.0) -> Tensor:
    """Return which boxes x0, y0, x1, y1 of a tile have their centre where no neighbour knows better.

    ``slack`` widens that part by as many pixels on every side that is a seam.
    """
    margin = TILE_OVERLAP_PX / 2
    inside = torch.ones(len(boxes), dtype=torch.bool)
    for axis, window in ((1, tile[0]), (0, tile[1])):
        centre = (boxes[:, axis] + boxes[:, axis + 2]) / 2 + window.start
        if window.start > 0:
            inside &= centre >= window.start + margin - slack
        if window.stop < shape[1 - axis]:
            inside &= centre < window.stop - margin + slack
    return inside


def corner(tile: Window) -> Tensor:
    """Return what carries boxes x0, y0, x1, y1 of a tile into the field."""
    return torch.tensor([tile[1].start, tile[0].start] * 2)


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Return the size of a tile after padding."""
    return height + -height % _STRIDE_PX, width + -width % _STRIDE_PX


def batch_of(pixels: list[Tensor], device: torch.device) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return tiles ``(n, 3, height, width)`` of one padded size, and their sizes without the padding."""
    sizes = [(int(tile.shape[1]), int(tile.shape[2])) for tile in pixels]
    padded = []
    for tile, size in zip(pixels, sizes, strict=True):
        height, width = padded_size(*size)
        padding = (0, width - size[1], 0, height - size[0])
        padded.append(torch.nn.functional.pad(tile, padding, value=1.0))
    return torch.stack(padded).to(device, memory_format=torch.channels_last), sizes
