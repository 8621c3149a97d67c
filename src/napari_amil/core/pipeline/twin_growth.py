"""A sheet of some control cells and their twins, which grows while a network learns to redraw them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from napari_amil.core.anomaly.reconstruction.scorer import ReconstructionScorer
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.events import EpochReport, Event
from napari_amil.core.base.files import replacing

SHEET = "twins.png"
"""Name of the file in the run folder."""
_CELLS, _TWINS = 6, 5
_SIDE_PX, _HEAD_PX, _GAP_PX = 64, 16, 4
_HOTTEST = 0.25
"""Difference, of 1, that is drawn in the strongest red."""


@dataclass(frozen=True, eq=False)
class TwinSheet:
    """Rows of cells: the cell, its twin after epoch 1, 2, 4, 8 ... (the last five), and the last difference.

    Parameters
    ----------
    file
        File that is rewritten each time.
    cells
        The cells that are redrawn.
    """

    file: Path
    cells: CellInputs
    columns: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    @classmethod
    def of_some(cls, file: Path, cells: CellInputs) -> TwinSheet:
        """Return the sheet of a few whole cells, evenly taken."""
        rows = np.flatnonzero(cells.whole)
        chosen = rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), min(_CELLS, len(rows))).astype(int))]
        return cls(file, cells.take(chosen))

    def following(
        self, work: Generator[Event, None, None], scorer: ReconstructionScorer
    ) -> Generator[Event, None, None]:
        """Pass on the events of a training, and draw the twins of the network as it is now and then."""
        for event in work:
            if isinstance(event, EpochReport):
                n_done = event.epoch + 1
                if n_done & (n_done - 1) == 0 or n_done == event.n_epochs:
                    self._draw(scorer, n_done)
            yield event

    def _draw(self, scorer: ReconstructionScorer, n_done: int) -> None:
        if not len(self.cells) or self.cells.pixels is None:
            return
        drawn = scorer.redraw(self.cells)
        self.columns[f"epoch {n_done}"] = drawn.twin
        crops = np.ascontiguousarray(self.cells.pixels[:, :3].transpose(0, 2, 3, 1))
        latest = dict(list(self.columns.items())[-_TWINS:])
        columns = {"cell": crops, **latest, "difference": _warm(drawn.heat)}
        step = _SIDE_PX + _GAP_PX
        size = (step * len(columns), _HEAD_PX + step * len(self.cells))
        sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(11)
        drawing = ImageDraw.Draw(sheet)
        for column, (words, pictures) in enumerate(columns.items()):
            drawing.text((step * column + 2, 1), words, "black", font)
            for row, picture in enumerate(pictures):
                small = Image.fromarray(picture).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR)
                sheet.paste(small, (step * column, _HEAD_PX + step * row))
        with replacing(self.file) as partial:
            sheet.save(partial, format="PNG")


def _warm(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return differences ``(n, size, size)`` as pictures from white to red."""
    share = np.clip(np.where(np.isfinite(heat), heat, 0.0) / _HOTTEST, 0, 1)[..., None]
    return np.rint(255 * (1 - share * np.array([0.15, 0.9, 0.9]))).astype(np.uint8)
