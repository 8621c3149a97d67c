"""Refits of the statistics of named measurements to patients drawn with replacement."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.patients import ControlWeights
from napari_amil.core.base.errors import AmilError


class MorphologyRefits(nn.Module):
    """Statistics of the measurements of control cells, refitted to each of many draws of their patients.

    Parameters
    ----------
    state
        Tensors of `ControlMorphology`, each with a first axis over the draws.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            self.register_buffer(name, tensor.float())

    @classmethod
    def fit(
        cls,
        measurements: NDArray[Any],
        patients: NDArray[np.int64],
        drawn: NDArray[np.int64],
        roundness: float = 0.0,
        weights: ControlWeights | None = None,
    ) -> MorphologyRefits:
        """Return a refit for each draw; where a draw has too few cells, the fit to all cells stands for it.

        Parameters
        ----------
        measurements
            ``(n_cells, n_measurements)`` of control cells.
        patients
            ``(n_cells,)`` number of the patient of each.
        drawn
            ``(n_draws, n_patients)`` numbers of the patients that a draw consists of.
        roundness, weights
            Of every fit, as of `ControlMorphology.fit`.

        Raises
        ------
        AmilError
            As `ControlMorphology.fit` of all cells.
        """
        whole = ControlMorphology.fit(measurements, roundness, weights)
        cells = [np.flatnonzero(patients == patient) for patient in range(drawn.shape[1])]
        fits = []
        for draw in drawn:
            rows = np.concatenate([cells[patient] for patient in draw])
            try:
                own = None if weights is None else weights.take(rows)
                fits.append(ControlMorphology.fit(measurements[rows], roundness, own).state_dict())
            except AmilError:
                fits.append(whole.state_dict())
        return cls({name: torch.stack([fit[name] for fit in fits]) for name in fits[0]})

    @cached_property
    def fits(self) -> list[ControlMorphology]:
        """Statistics of the control cells of each draw."""
        names, tensors = zip(*self.state_dict().items(), strict=True)
        return [
            ControlMorphology.from_state(dict(zip(names, fit, strict=True)))
            for fit in zip(*tensors, strict=True)
        ]
