"""Calibration of class probabilities on bags that were held out: temperature and class sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from napari_amil.core.base.types import Floats

COVERAGE = 0.9
"""Share of new patients whose class the set of classes holds."""
_MOST = 20.0  # the temperature stays between its inverse and it


class ClassCalibration(nn.Module):
    """Temperature of the logits, and sets of classes that hold the true one.

    The probabilities are ``softmax(logits / T)`` with the temperature ``T`` that makes the true classes of
    held-out bags most likely (Guo et al. 2017). The set of classes of a bag holds every class ``c`` with

        ``(1 + K S(1 - p_c)) / (K + 1) > 1 - coverage``,

    where ``S(s)`` is the mean over the K held-out patients of the share of their bags whose true class
    has ``1 - p`` of at least ``s`` (split conformal prediction, Vovk et al. 2005, with patients as the
    exchangeable units). With fewer than nine patients a set of 90 % holds every class.

    Parameters
    ----------
    temperature
        ``T``
    scores
        ``(n_bags,)`` ``1 - p`` of the true class of held-out bags, any order.
    weights
        ``(n_bags,)`` how much each counts; sums to 1, every patient alike.
    n_patients
        ``K``
    """

    temperature: Tensor
    scores: Tensor
    weights: Tensor
    n_patients: Tensor

    def __init__(self, temperature: float, scores: Floats, weights: Floats, n_patients: int) -> None:
        super().__init__()
        order = np.argsort(scores, kind="stable")
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float64))
        self.register_buffer("scores", torch.from_numpy(scores[order]))
        self.register_buffer("weights", torch.from_numpy(weights[order]))
        self.register_buffer("n_patients", torch.tensor(n_patients))

    @classmethod
    def fit(
        cls, logits: NDArray[Any], labels: NDArray[np.int64], patients: Sequence[str]
    ) -> ClassCalibration:
        """Return the calibration from logits ``(n_bags, n_classes)`` of networks that did not see the bags.

        Every patient counts alike, however many bags are known.
        """
        logits = np.asarray(logits, dtype=np.float64)
        weights = weight_by_patient(patients)
        rows = np.arange(len(labels))

        def loss(log_temperature: float) -> float:
            return -float(weights @ log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels])

        most = float(np.log(_MOST))
        found = minimize_scalar(loss, bounds=(-most, most), method="bounded")
        temperature = float(np.exp(found.x))
        scores = 1.0 - softmax(logits / temperature, axis=1)[rows, labels]
        return cls(temperature, scores, weights, len(set(patients)))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> ClassCalibration:
        """Return the calibration that a ``state_dict`` describes."""
        values = state["scores"].double().numpy(), state["weights"].double().numpy()
        return cls(float(state["temperature"]), *values, int(state["n_patients"]))

    def probability(self, logits: NDArray[Any]) -> Floats:
        """Return ``softmax(logits / T)`` over the last axis."""
        return np.asarray(softmax(np.asarray(logits, dtype=np.float64) / float(self.temperature), axis=-1))

    def class_sets(self, probability: NDArray[Any], coverage: float = COVERAGE) -> NDArray[np.bool_]:
        """Return a mask of the classes in the set of each bag, ``(n_bags, n_classes)``; no set is empty.

        Parameters
        ----------
        probability
            ``(n_bags, n_classes)`` from `probability`.
        """
        below = np.concatenate([[0.0], np.cumsum(self.weights.numpy())])
        farther = 1.0 - below[np.searchsorted(self.scores.numpy(), 1.0 - probability - 1e-12, side="left")]
        n = int(self.n_patients)
        inside = (1.0 + n * farther) / (n + 1.0) > 1.0 - coverage
        return inside | (probability >= probability.max(axis=1, keepdims=True))


def weight_by_patient(patients: Sequence[str]) -> Floats:
    """Return weights ``(n_bags,)`` of bags with which all patients count equally; they sum to 1."""
    _, code, n = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(n) * n[code]))


def class_probability(logits: NDArray[Any], calibration: ClassCalibration | None) -> Floats:
    """Return the class probabilities of logits; without a calibration the temperature is 1."""
    return np.asarray(softmax(logits, axis=-1)) if calibration is None else calibration.probability(logits)
