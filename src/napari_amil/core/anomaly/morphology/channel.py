"""The channel ``morph_distance``: distance of the named measurements to those of control cells."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from napari_amil.core.anomaly.morphology.refits import MorphologyRefits
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology, whole_cells
from napari_amil.core.anomaly.patients import drawn_patients, patient_codes
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import Event
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats
from napari_amil.core.morphology.names import MEASUREMENTS


class MorphDistance(CellScorer):
    """Distance of the named measurements to those of control cells (`ControlMorphology`)."""

    reads = "measurements"
    ranked = False
    weighs = True

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.statistics = ControlMorphology(MEASUREMENTS[settings.cells])
        self.refits: MorphologyRefits | None = None

    def fit(self, controls: CellInputs, seed: int, device: torch.device) -> Generator[Event, None, None]:
        """Fit the statistics to whole cells, and to those of each draw of patients for standard errors."""
        measurements, patients = controls.measurements, controls.patients
        roundness = self.settings.roundness
        assert measurements is not None
        whole = whole_cells(measurements)
        weights = None if controls.weights is None else controls.weights.take(whole)
        self.statistics = ControlMorphology.fit(measurements[whole], roundness, weights)
        if patients is not None and len(np.unique(patients)) > 1:
            codes = patient_codes(patients)
            drawn = drawn_patients(int(codes.max()) + 1).numpy()
            self.refits = MorphologyRefits.fit(measurements[whole], codes[whole], drawn, roundness, weights)
        yield from ()

    def score(self, cells: CellInputs) -> Floats:
        """Return the distances ``(n_cells,)``."""
        if cells.measurements is None:
            return np.full(len(cells), np.nan)
        return self.statistics.distance(cells.measurements)

    def score_refits(self, cells: CellInputs) -> Floats | None:
        """Return the distances to the statistics of each draw of patients."""
        if self.refits is None or cells.measurements is None:
            return None
        return np.stack([fit.distance(cells.measurements) for fit in self.refits.fits])

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: ModelSettings) -> Self:
        """Return the channel whose ``state_dict`` was ``state``, refits or not."""
        scorer, prefix = cls(settings), "refits."
        refits = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        scorer.refits = MorphologyRefits(refits) if refits else None
        scorer.load_state_dict(dict(state))
        return scorer
