"""How good a detection is: recall of labelled centres, precision, agreement of boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from napari_amil.core.base.types import Cells


@dataclass(frozen=True)
class DetectionCount:
    """Counts over one or more images; add them up, then ask for recall and precision.

    Parameters
    ----------
    n_truth, n_found
        Labelled cells; of these, matched one to one with a detection.
    n_judged, n_false
        Detections in images where every whole cell is labelled; of these, unmatched ones.
        Detections that touch the border are judged only if they match: half cells carry no label.
    n_doubled
        Unmatched detections whose box holds a centre that another detection matched better.
    """

    n_truth: int = 0
    n_found: int = 0
    n_judged: int = 0
    n_false: int = 0
    n_doubled: int = 0

    def __add__(self, other: DetectionCount) -> DetectionCount:
        return DetectionCount(*(a + b for a, b in zip(self.row(), other.row(), strict=True)))

    def row(self) -> tuple[int, int, int, int, int]:
        """Return the counts in order."""
        return self.n_truth, self.n_found, self.n_judged, self.n_false, self.n_doubled

    @property
    def recall(self) -> float:
        """Share of labelled cells that were found."""
        return self.n_found / self.n_truth if self.n_truth else float("nan")

    @property
    def precision(self) -> float:
        """Share of judged detections that are labelled cells."""
        return 1 - self.n_false / self.n_judged if self.n_judged else float("nan")


def count_centres(cells: Cells, centres: NDArray[np.float64], exhaustive: bool) -> DetectionCount:
    """Compare detections with labelled centres ``(n, 2)``, y and x in pixels.

    A centre counts as found when it lies inside a box matched to it one to one; among possible
    matchings the one with the most pairs, then the least distance between centres, is taken.
    """
    boxes = cells.boxes.astype(np.float64)
    within = (centres[:, None] >= boxes[None, :, :2]) & (centres[:, None] <= boxes[None, :, 2:])
    inside = np.asarray(within.all(axis=2), dtype=bool)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = np.linalg.norm(centres[:, None] - middle[None], axis=2)
    rows, columns = linear_sum_assignment(np.where(inside, distance, 1e6))
    matched = inside[rows, columns]
    loose = np.ones(len(cells), dtype=bool)
    loose[columns[matched]] = False
    judged = ~loose | ~cells.touches_border
    return DetectionCount(
        n_truth=len(centres),
        n_found=int(matched.sum()),
        n_judged=int(judged.sum()) if exhaustive else 0,
        n_false=int((loose & judged).sum()) if exhaustive else 0,
        n_doubled=int((loose & inside.any(axis=0)).sum()),
    )
