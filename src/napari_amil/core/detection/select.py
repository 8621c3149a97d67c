"""Select cells among candidates by score, size, border and overlap; without torch, for a slider."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.settings import SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.outlines import shared_area


@dataclass(frozen=True, eq=False)
class Candidates:
    """Raw detections of one image with what selecting among them needs, computed once.

    Parameters
    ----------
    cells
        Every raw detection.
    diameter_px
        Typical diameter of a cell in this image.
    pairs, share
        Overlapping pairs of rows ``(n_pairs, 2)``, and the shared part of the smaller cell.
    maps
        ``(n_cells, channels, 14, 14)`` RoI feature maps of the same pass, None if not asked for.
    """

    cells: Cells
    diameter_px: float
    pairs: NDArray[np.int64]
    share: NDArray[np.float32]
    maps: NDArray[np.float16] | None = None

    @classmethod
    def from_cells(cls, cells: Cells, diameter_px: float) -> Candidates:
        """Return the candidates with their overlaps worked out."""
        return cls(cells, diameter_px, *shared_area(cells.boxes, cells.outlines, cells.area_px))

    def select(self, settings: SelectionSettings) -> Cells:
        """Return the cells that pass the score, size, border and overlap filters, ids unchanged.

        Among overlapping cells the better score wins; ``overlaps`` is set anew for those that stay.
        """
        cells = self.cells
        diameter = 2 * np.sqrt(cells.area_px / np.pi) / self.diameter_px
        large_enough = (diameter >= settings.min_diameter) | cells.touches_border
        keep = (
            (cells.detection_score >= settings.min_score) & large_enough & (diameter <= settings.max_diameter)
        )
        if not settings.keep_border:
            keep &= ~cells.touches_border
        self._drop_doubles(keep, settings.max_overlap)
        both = keep[self.pairs].all(axis=1)
        overlaps = np.zeros(len(cells), dtype=bool)
        overlaps[self.pairs[both].ravel()] = True
        return replace(cells, overlaps=overlaps).take(keep)

    def _drop_doubles(self, keep: NDArray[np.bool_], max_overlap: float) -> None:
        """Clear ``keep`` where a better kept cell covers more than ``max_overlap`` of the smaller one."""
        clash = self.pairs[self.share > max_overlap]
        rank = np.empty(len(keep), dtype=np.int64)
        rank[np.argsort(-self.cells.detection_score, kind="stable")] = np.arange(len(keep))
        better, worse = np.where(rank[clash[:, :1]] < rank[clash[:, 1:]], clash, clash[:, ::-1]).T
        for row in np.argsort(rank[better], kind="stable"):
            if keep[better[row]]:
                keep[worse[row]] = False


def select(candidates: Cells, settings: SelectionSettings, diameter_px: float) -> Cells:
    """Return the cells that pass the filters (`Candidates.select`), overlaps worked out on the way."""
    return Candidates.from_cells(candidates, diameter_px).select(settings)
