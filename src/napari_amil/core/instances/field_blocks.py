"""Split the cells of a large field into blocks, so that memory does not depend on its size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.types import Cells
from napari_amil.core.detection.network_input import NetworkInput
from napari_amil.core.images.fields import Field, is_large

_BLOCK_PX = 1024
_MARGIN_PX = 2  # so that what is resampled at the edge of a crop lies inside the block


@dataclass(frozen=True, eq=False)
class PreparedField:
    """A field with its normalised view.

    Parameters
    ----------
    field
        Its pixels.
    view
        The normalised pixels, with the scale and the diameter of the cells in pixels.
    """

    field: Field
    view: NetworkInput


@dataclass(frozen=True, eq=False)
class Block:
    """Some cells of a field with the pixels around them.

    Parameters
    ----------
    rows
        ``(n,)`` which cells of the field these are.
    cells
        The same in pixels of this block, those around them as their `others`.
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.
    """

    rows: NDArray[np.int64]
    cells: Cells
    normalised: NDArray[np.float32]


def split_into_blocks(view: NetworkInput, cells: Cells, reach_px: float) -> Iterator[Block]:
    """Yield the cells of a field: all at once where it fits into memory, else those of each square.

    A field without cells gives one block without cells. Blocks follow each other row by row, and those
    of one row show the same rows of pixels, so that a file in strips is decoded once.

    Parameters
    ----------
    view
        The field.
    cells
        In pixels of the original image.
    reach_px
        Least reach of the block around the centre of a cell, if its box does not reach farther.
    """
    height, width = view.shape
    if not is_large(view.shape):
        everything = view.part((slice(0, height), slice(0, width)))
        yield Block(np.arange(len(cells)), cells, everything)
        return
    sides = (cells.boxes[:, 2:] - cells.boxes[:, :2]).max(initial=0)
    reach = min(math.ceil(max(reach_px, sides / 2)), _BLOCK_PX) + _MARGIN_PX
    centres = (cells.boxes[:, :2] + cells.boxes[:, 2:]) / 2
    squares = np.clip(centres, 0, [height - 1, width - 1]).astype(np.int64) // _BLOCK_PX
    wanted = np.unique(squares, axis=0) if len(cells) else np.zeros((1, 2), np.int64)
    for square in wanted:
        first = np.maximum(square * _BLOCK_PX - reach, 0)
        last = np.minimum((square + 1) * _BLOCK_PX + reach, [height, width])
        inside = (squares == square).all(axis=1)
        near = ((cells.boxes[:, 2:] > first) & (cells.boxes[:, :2] < last)).all(axis=1)
        part = view.part((slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))))
        yield Block(np.flatnonzero(inside), _moved(cells.take(near).among(inside[near]), first), part)


def _moved(cells: Cells, corner: NDArray[np.int64]) -> Cells:
    """Return cells in pixels of the part of their field that begins at a corner ``(2,)``, y and x."""
    shift = corner.astype(np.float32)
    outlines, others = (tuple(o - shift for o in drawn) for drawn in (cells.outlines, cells.others))
    return replace(cells, boxes=cells.boxes - np.tile(shift, 2), outlines=outlines, others=others)
