"""Base class of anomaly scores of single cells, and the inputs that they read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.morphology.statistics import whole_cells
from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.base.events import Event
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats

Reads = Literal["embedding", "measurements", "pixels"]


@dataclass(frozen=True, eq=False)
class CellInputs:
    """Everything that anomaly scores can read of some cells, row for row; None where it is not known.

    Parameters
    ----------
    embedding
        ``(n_cells, n_views, k)`` or ``(n_cells, k)``
    measurements
        ``(n_cells, n_measurements)`` as `napari_amil.core.morphology.measures.NAMES`; NaN is unknown.
    pixels
        ``(n_cells, 4, size, size)`` uint8: red, green and blue of the normalised crop, and a mask that is
        255 inside the cell.
    patients
        ``(n_cells,)`` name of the patient, or of the image where patients share images.
    scores
        ``channel -> (n_cells,)`` scores that were computed before.
    domains
        ``factor -> (n_cells,)`` how each cell was acquired, such as its stain; "" where it is not known. Only
        the training of networks reads it.
    weights
        Weights of control cells, every unit alike; without any every cell counts alike.
    """

    embedding: Tensor | None = None
    measurements: NDArray[Any] | None = None
    pixels: NDArray[np.uint8] | None = None
    patients: NDArray[Any] | None = None
    scores: Mapping[str, Floats] = field(default_factory=dict)
    domains: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    weights: ControlWeights | None = None

    def __len__(self) -> int:
        known = (self.embedding, self.measurements, self.pixels, *self.scores.values())
        return next((len(values) for values in known if values is not None), 0)

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Mask ``(n_cells,)`` of boxes that hold a whole cell; all true where no cell was measured."""
        if self.measurements is None:
            return np.ones(len(self), dtype=bool)
        return whole_cells(self.measurements)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> CellInputs:
        """Return the cells at ``rows``, given as numbers or as a mask."""
        chosen = None if self.embedding is None else self.embedding[torch.from_numpy(np.asarray(rows))]
        return CellInputs(
            chosen,
            None if self.measurements is None else self.measurements[rows],
            None if self.pixels is None else self.pixels[rows],
            None if self.patients is None else self.patients[rows],
            {name: values[rows] for name, values in self.scores.items()},
            {name: values[rows] for name, values in self.domains.items()},
            None if self.weights is None else self.weights.take(rows),
        )

    @property
    def reference(self) -> CellInputs:
        """The cells that are the reference of the anomaly, every cell alike."""
        chosen = self if self.weights is None else self.take(self.weights.reference)
        return replace(chosen, weights=None)

    def without_patients(self) -> CellInputs:
        """Return the cells without their patients, so that no standard errors are prepared for them."""
        return replace(self, patients=None)


class CellScorer(nn.Module, ABC):
    """An anomaly score of single cells, fitted to control cells: one channel of the anomaly.

    The score of a cell is positive, larger for a more unusual cell, NaN where the input of the cell is
    unknown, and does not depend on the cells that are scored with it. ``state_dict`` (of torch) holds
    all that was fitted.

    Parameters
    ----------
    settings
        Settings of the model.
    """

    reads: ClassVar[Reads]
    """The field of `CellInputs` that the score is computed from."""
    ranked: ClassVar[bool] = True
    """True if percentile, p and q of the score have columns of their own beside those of the anomaly."""
    stays: ClassVar[bool] = False
    """True if a calibration to other control cells leaves all that was fitted as it is: a trained network."""
    weighs: ClassVar[bool] = False
    """True if `fit` heeds the weights of control cells; another score is fitted to the reference alone."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def fit(self, controls: CellInputs, seed: int, device: torch.device) -> Generator[Event, None, None]:
        """Fit the score to control cells; with their patients prepare its standard error too.

        Raises
        ------
        AmilError
            If the cells are too few.
        """

    @abstractmethod
    def score(self, cells: CellInputs) -> Floats:
        """Return the score of each cell, ``(n_cells,)``."""

    def score_refits(self, cells: CellInputs) -> Floats | None:
        """Return the scores after refits to drawn patients, ``(N_REFITS, n_cells)``; None without refits.

        The draws are those of `napari_amil.core.anomaly.patients.drawn_patients`.
        """
        return None

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: ModelSettings) -> Self:
        """Return the scorer whose ``state_dict`` was ``state``."""
        scorer = cls(settings)
        scorer.load_state_dict(dict(state))
        return scorer
