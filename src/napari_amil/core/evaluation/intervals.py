"""How far a figure of merit would move with other patients: the bootstrap over whole patients."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fold:
    """The test bags of one fold and one run.

    Parameters
    ----------
    bags
        ``(n,)`` numbers of the bags in the cohort.
    labels
        ``(n,)`` numbers of their classes.
    probabilities
        ``(n, n_classes)``.
    """

    bags: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: Floats


def patient_weights(labels: NDArray[Any], patients: Sequence[str], n_resamples: int, seed: int = 0) -> Floats:
    """Return how often each bag is in each resample, ``(n_resamples, n_bags)``.

    The patients of each class are drawn with replacement, as many as there are; a drawn patient brings
    all bags along.
    """
    generator = np.random.default_rng(seed)
    names, number = np.unique(np.asarray(patients), return_inverse=True)
    weights = np.zeros((n_resamples, len(names)))
    class_of = np.zeros(len(names), dtype=np.int64)
    class_of[number] = labels
    for label in np.unique(class_of):
        members = np.flatnonzero(class_of == label)
        even = np.full(len(members), 1.0 / len(members))
        weights[:, members] = generator.multinomial(len(members), even, size=n_resamples)
    return weights[:, number]


def weighted_accuracy(fold: Fold, weights: Floats) -> Floats:
    """Return the accuracy ``(n_resamples,)`` with the weights of the cohort's bags; NaN without a bag."""
    own = weights[:, fold.bags]
    right = fold.probabilities.argmax(axis=1) == fold.labels
    return _ratio(own @ right, own.sum(axis=1))


def weighted_auroc(fold: Fold, weights: Floats) -> Floats:
    """Return the macro one-vs-rest ROC area ``(n_resamples,)`` over the classes that a resample holds.

    The area is the share of pairs in the right order, ties counting half (Mann-Whitney).
    """
    own = weights[:, fold.bags]
    areas = []
    for number in range(fold.probabilities.shape[1]):
        positive = fold.labels == number
        score = fold.probabilities[:, number]
        ordered = np.sign(score[positive, None] - score[None, ~positive]) / 2 + 0.5
        inside, outside = own[:, positive], own[:, ~positive]
        pairs = ((inside @ ordered) * outside).sum(axis=1)
        areas.append(_ratio(pairs, inside.sum(axis=1) * outside.sum(axis=1)))
    return nan_mean(np.stack(areas), axis=0)


def nan_mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Return the mean of what is known; NaN, without a warning, where nothing is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.asarray(np.nanmean(values, axis=axis))


def interval(resampled: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of a resampled figure."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
