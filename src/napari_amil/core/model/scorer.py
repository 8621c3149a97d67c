"""What turns cells into scores: network, control Gaussian, calibration and class names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.refits import ControlMoments
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.anomaly.morphology.refits import MorphologyRefits
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.novelty import BagNovelty
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.model import AmilModel


@dataclass(frozen=True, eq=False)
class Scorer:
    """What turns cells into scores: network, control Gaussian, calibration and class names.

    A bundle of before may lack what tells the error of a distance (``moments`` for the embedding's,
    ``refits`` for that of the measurements) and the novelty of a bag, what is usual among the
    measurements of control cells, a sample of these cells, and how the anomaly of a cell is made of
    two distances: without that it is the network's alone.
    """

    model: AmilModel
    gaussian: LatentGaussian
    calibration: Calibration
    classes: tuple[str, ...]
    in_channels: int
    n_measurements: int = 0
    moments: ControlMoments | None = None
    novelty: BagNovelty | None = None
    morphology: ControlMorphology | None = None
    controls: ControlSample | None = None
    joint: JointDistance | None = None
    refits: MorphologyRefits | None = None

    def anomaly(self, latent: NDArray[Any], measurements: NDArray[Any]) -> NDArray[np.float64]:
        """Return the anomaly ``(n_cells,)`` of cells.

        Parameters
        ----------
        latent
            ``(n_cells,)`` distances to the control Gaussian.
        measurements
            ``(n_cells, n_measurements)``
        """
        if self.joint is None or self.morphology is None:
            return np.asarray(latent, dtype=np.float64)
        return self.joint.distance(latent, self.morphology.distance(measurements))

    def anomaly_error(
        self, z: Tensor, measurements: NDArray[Any], settings: ModelSettings
    ) -> NDArray[np.float64]:
        """Return how far the anomaly ``(n_cells,)`` moves with other control patients; NaN if unknown.

        It is the standard deviation over draws of the patients with replacement. Without ``refits``
        what is usual among the measurements stays as it is.

        Parameters
        ----------
        z
            ``(n_cells, n_views, k)`` embeddings.
        measurements
            ``(n_cells, n_measurements)``
        settings
            Those of the Gaussian.
        """
        if self.moments is None:
            return np.full(len(z), np.nan)
        drawn: NDArray[np.float64] = self.moments.distances(z, self.gaussian, settings).double().numpy()
        if self.joint is not None and self.morphology is not None:
            usual = [self.morphology] * len(drawn) if self.refits is None else self.refits.fits
            by_shape = (fit.distance(measurements) for fit in usual)
            drawn = np.stack([self.joint.distance(*both) for both in zip(drawn, by_shape, strict=True)])
        return drawn.std(axis=0, ddof=1)
