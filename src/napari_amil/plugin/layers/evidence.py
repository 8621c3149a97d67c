"""Evidence stored with a scored layer: shape words and the nearest control cells of each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

EVIDENCE = "napari_amil_evidence"
"""Key of the `Evidence` in ``layer.metadata``."""


class ControlCell(NamedTuple):
    """A control cell of the model's training: its picture, its image, and how far it is in the embedding."""

    picture: NDArray[np.uint8]
    image: str
    distance: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence that the worker wrote with the scores of one layer.

    Parameters
    ----------
    path
        The file, which the worker reads again for neighbours and deletions.
    arrays
        Result of `napari_amil.core.scoring.evidence.field_evidence`.
    """

    path: Path
    arrays: Mapping[str, NDArray[Any]]

    def __deepcopy__(self, _: dict[int, Any]) -> Evidence:
        """Return the same evidence for a duplicated layer; nobody changes it."""
        return self

    @property
    def model(self) -> str:
        """Name of the model that scored the cells."""
        return str(self.arrays["model"])

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the file of that model."""
        return str(self.arrays["model_sha256"])

    @property
    def control_levels(self) -> list[tuple[float, float]]:
        """Percentiles of held-out control cells and their distances."""
        return [(float(level), float(distance)) for level, distance in self.arrays["control_level"]]

    def words(self, cell_id: int) -> list[str]:
        """Return the unusual features of a cell's shape in words, the most unusual first."""
        row = self._row_of.get(cell_id)
        return [] if row is None else [str(word) for word in self.arrays["words"][row] if word]

    def controls(self, cell_id: int) -> list[ControlCell]:
        """Return the control cells that a cell is most like, the nearest first."""
        row = self._row_of.get(cell_id)
        if row is None:
            return []
        near = zip(self.arrays["control"][row], self.arrays["control_distance"][row], strict=True)
        pictures, images = self.arrays["control_picture"], self.arrays["control_image"]
        return [ControlCell(pictures[i], str(images[i]), float(distance)) for i, distance in near]

    @cached_property
    def _row_of(self) -> dict[int, int]:
        return {int(cell_id): row for row, cell_id in enumerate(self.arrays["cell_id"])}


def read_evidence(path: Path) -> Evidence:
    """Return the evidence that the worker wrote to ``path``; may run in any thread."""
    with np.load(path, allow_pickle=False) as stored:
        return Evidence(path, dict(stored))


def keep_evidence(layer: Shapes, evidence: Evidence | None) -> None:
    """Store evidence with ``layer``; None removes it."""
    if evidence is None:
        layer.metadata.pop(EVIDENCE, None)
    else:
        layer.metadata[EVIDENCE] = evidence


def evidence_of(layer: Shapes) -> Evidence | None:
    """Return the evidence on the cells of ``layer``; None without it."""
    found = layer.metadata.get(EVIDENCE)
    return found if isinstance(found, Evidence) else None
