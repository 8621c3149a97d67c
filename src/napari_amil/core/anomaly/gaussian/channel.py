"""The channel ``latent_distance``: Mahalanobis distance of the embedding to the control Gaussian."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.refits import ControlMoments
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats


class LatentDistance(CellScorer):
    """Distance of the embedding to the control Gaussian (`LatentGaussian`).

    Parameters
    ----------
    settings
        Mixture, shrinkage and roundness of the Gaussian.
    gaussian
        The Gaussian that the pooling was trained with; without one `fit` makes one.
    """

    reads = "embedding"
    ranked = False
    weighs = True

    def __init__(self, settings: ModelSettings, gaussian: LatentGaussian | None = None) -> None:
        super().__init__(settings)
        self.gaussian = LatentGaussian(settings.embedding_dim) if gaussian is None else gaussian
        self.moments: ControlMoments | None = None

    def fit(self, controls: CellInputs, seed: int, device: torch.device) -> Generator[Event, None, None]:
        """Fit the Gaussian unless it is fitted, and the moments of each patient for standard errors."""
        embedding = controls.embedding
        assert embedding is not None
        if not bool(self.gaussian.fitted):
            self.gaussian = LatentGaussian(embedding.shape[-1])
            note = self.gaussian.fit(embedding, self.settings, seed, controls.weights)
            if note:
                yield Warned(note)
        if controls.patients is not None:
            given = embedding, controls.patients, self.gaussian, controls.weights
            self.moments = ControlMoments.from_controls(*given)

    def score(self, cells: CellInputs) -> Floats:
        """Return the distances ``(n_cells,)``."""
        if cells.embedding is None:
            return np.full(len(cells), np.nan)
        return np.asarray(self.gaussian.distance(cells.embedding).cpu().double().numpy())

    def score_refits(self, cells: CellInputs) -> Floats | None:
        """Return the distances to the Gaussian of each draw of patients."""
        if self.moments is None or cells.embedding is None:
            return None
        drawn = self.moments.distances(cells.embedding, self.gaussian, self.settings)
        return np.asarray(drawn.double().numpy())

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: ModelSettings) -> Self:
        """Return the channel whose ``state_dict`` was ``state``, moments or not."""
        gaussian = LatentGaussian(state["gaussian.mean"].shape[-1])
        scorer = cls(settings, gaussian)
        if "moments.total" in state:
            prefix = "moments."
            moments = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
            scorer.moments = ControlMoments.from_state(moments)
        scorer.load_state_dict(scorer.state_dict() | dict(state))
        return scorer
