"""What somebody, or another program, says of one image: its cells, and how far that can be relied on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import CELL_COLUMNS, Cells, box_outline
from napari_amil.core.morphology.masks import has_outline

_BORDER_PX = 2.0  # a box this close to the border of the image is cut by it, as detected cells have it


@dataclass(frozen=True, eq=False)
class Annotation:
    """The cells of one image as a file gives them.

    Parameters
    ----------
    cells
        Boxes, and outlines where they are known.
    complete
        Whether every cell of the image is among them; else what is not is unknown, not background.
    patients
        Whose cells they are, as a table says; none where it does not.
    fold
        As a table says, None where it does not.
    shape
        Height and width in pixels that the image must have, None where the file does not say.
    """

    cells: Cells
    complete: bool = True
    patients: tuple[str, ...] = ()
    fold: int | None = None
    shape: tuple[int, int] | None = None

    def within(self, name: str, shape: tuple[int, int]) -> Annotation:
        """Return the annotation with its boxes inside an image of ``shape`` and its border flags set.

        Raises
        ------
        AmilError
            If the labels have another size, or a box lies outside.
        """
        height, width = shape
        if self.shape is not None and self.shape != shape:
            raise AmilError(
                f"The labels of '{name}' are {self.shape[1]} x {self.shape[0]} pixels, but the image has "
                f"{width} x {height}; they must be of one size."
            )
        boxes = self.cells.boxes
        outside = (boxes[:, 0] >= height) | (boxes[:, 1] >= width) | (boxes[:, 2:] <= 0).any(axis=1)
        if outside.any():
            raise AmilError(
                f"{int(outside.sum())} boxes of '{name}' lie outside its {width} x {height} pixels; "
                "check that they belong to this image and are in pixels."
            )
        limits = np.array([height, width], dtype=np.float32)
        cut = (boxes[:, :2] < _BORDER_PX).any(axis=1) | (boxes[:, 2:] > limits - _BORDER_PX).any(axis=1)
        return replace(self, cells=_clipped(self.cells, limits, np.asarray(cut, dtype=bool)))


def _clipped(cells: Cells, limits: NDArray[np.float32], cut: NDArray[np.bool_]) -> Cells:
    """Return cells inside an image, those that its border cuts flagged."""
    boxes = np.clip(cells.boxes, 0, np.tile(limits, 2))
    outlines = tuple(
        np.clip(outline, 0, limits) if known else box_outline(box)
        for box, outline, known in zip(boxes, cells.outlines, has_outline(cells), strict=True)
    )
    columns = {name: getattr(cells, name) for name in CELL_COLUMNS}
    return Cells(boxes, outlines, **columns | {"touches_border": cells.touches_border | cut})
