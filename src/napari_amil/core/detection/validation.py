"""How well a detector finds the cells of annotated images that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.precision import Pair, average_precision, matched
from napari_amil.core.detection.predict import find_candidates


@dataclass(frozen=True, eq=False)
class ValidationField:
    """A normalised field ``(height, width, 3)``, its annotated cells, and whether these are all."""

    normalised: NDArray[np.float32]
    cells: Cells
    complete: bool = True


@dataclass(frozen=True, eq=False)
class Validation:
    """Measures a detector as a user would use it: the same scale, tiles, filters and threshold.

    Parameters
    ----------
    fields
        Images of patients that the training does not see.
    settings
        Detection and selection.
    device
        Where the network runs.
    """

    fields: Sequence[ValidationField]
    settings: RunSettings
    device: torch.device

    def __call__(self, model: MaskRCNN) -> dict[str, float]:
        """Return the figures of a network.

        ``ap50``, ``ap50_95`` (`average_precision`) of all candidates; ``recall`` and ``precision`` of
        the cells above the detection threshold, matched one to one from an intersection over union of 0.5;
        ``count_error``, the mean over images of the difference in number over the annotated number.
        Where not every cell of an image is annotated, it counts for ``recall`` and ``average_recall`` alone.
        """
        every = self.settings.selection.model_copy(update={"min_score": 0.0})
        ranked: list[Pair] = []
        chosen: list[Pair] = []
        for field in self.fields:
            work = find_candidates(model, field.normalised, self.settings.detection, self.device)
            candidates = drain(work)
            ranked.append((field.cells, candidates.select(every)))
            chosen.append((field.cells, candidates.select(self.settings.selection)))
        complete = [field.complete for field in self.fields]
        judged = [pair for pair, whole in zip(ranked, complete, strict=True) if whole]
        figures = average_precision(judged) | {"average_recall": average_precision(ranked)["average_recall"]}
        return figures | counted(chosen, complete)


def counted(pairs: Sequence[Pair], complete: Sequence[bool]) -> dict[str, float]:
    """Return ``recall``, ``precision`` and ``count_error`` of found cells; NaN where nothing can be said."""
    hits = np.array([matched(truth, found) for truth, found in pairs], dtype=np.float64)
    known = np.array([len(truth) for truth, _ in pairs], dtype=np.float64)
    found = np.array([len(cells) for _, cells in pairs], dtype=np.float64)
    whole = np.array(complete, dtype=bool)
    error = np.abs(found - known)[whole] / np.maximum(known[whole], 1)
    return {
        "recall": float(hits.sum() / known.sum()) if known.sum() else float("nan"),
        "precision": float(hits[whole].sum() / found[whole].sum()) if found[whole].sum() else float("nan"),
        "count_error": float(error.mean()) if whole.any() else float("nan"),
    }
