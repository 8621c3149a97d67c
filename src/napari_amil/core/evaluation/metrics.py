"""Metrics of bags and cells, and their intervals from a bootstrap over patients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from napari_amil.core.base.types import Floats

NORMAL = "normal"
"""Name of the cell type that counts as not abnormal."""


def bag_metrics(
    labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]
) -> dict[str, float]:
    """Return the metrics of bags; one that the bags cannot tell is NaN.

    ``accuracy``, ``balanced_accuracy`` and ``weighted_f1`` are those of the most probable class;
    ``macro_auroc`` and ``macro_auprc`` are means over the classes present of each against the rest.

    Parameters
    ----------
    labels
        ``(n_bags,)`` numbers of the true classes.
    probabilities
        ``(n_bags, n_classes)`` softmax of the logits.
    classes
        Names of the classes.

    Returns
    -------
    dict
        ``n_bags``, ``accuracy``, ``balanced_accuracy``, ``weighted_f1``, ``macro_auroc``, ``macro_auprc``,
        and ``auprc_<class>`` for every class.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"The probabilities have shape {probabilities.shape}, "
            f"but there are {len(labels)} bags of {len(classes)} classes."
        )
    if not len(labels):
        names = ["accuracy", "balanced_accuracy", "weighted_f1", "macro_auroc", "macro_auprc"]
        names += [f"auprc_{name}" for name in classes]
        return {"n_bags": 0.0, **dict.fromkeys(names, math.nan)}
    predicted = probabilities.argmax(axis=1)
    areas = [_areas(labels == number, probabilities[:, number]) for number in range(len(classes))]
    return {
        "n_bags": float(len(labels)),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "balanced_accuracy": _balanced_accuracy(labels, predicted),
        "weighted_f1": float(metrics.f1_score(labels, predicted, average="weighted", zero_division=0)),
        "macro_auroc": _mean([roc for roc, _ in areas]),
        "macro_auprc": _mean([precision for _, precision in areas]),
        **{f"auprc_{name}": precision for name, (_, precision) in zip(classes, areas, strict=True)},
    }


def cell_metrics(cell_type: NDArray[Any], scores: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return ``cell_auroc_<score>``: how well each score tells abnormal cells from normal ones.

    A cell is abnormal when its type is known and not ``normal``. Cells of unknown type (empty) and
    scores that are NaN are left out; without cells of both kinds the area is NaN.

    Parameters
    ----------
    cell_type
        ``(n_cells,)`` names, empty where unknown.
    scores
        ``name -> (n_cells,)``, larger for more abnormal.
    """
    types = np.asarray(cell_type, dtype=str)
    known = types != ""
    areas = {}
    for name, score in scores.items():
        values = np.asarray(score, dtype=np.float64)
        rows = known & ~np.isnan(values)
        areas[f"cell_auroc_{name}"] = _areas(types[rows] != NORMAL, values[rows])[0]
    return areas


def share_metrics(
    true: NDArray[Any], estimate: NDArray[Any], low: NDArray[Any], high: NDArray[Any]
) -> dict[str, float]:
    """Return the agreement of the estimated share of abnormal cells of bags with the known one.

    ``share_n`` bags, ``share_r`` (Pearson), ``share_mae`` (mean absolute error) and ``share_coverage``, the
    share of bags whose interval holds the known share. Bags without an estimate are left out.
    """
    known = np.isfinite(np.asarray(true, np.float64)) & np.isfinite(np.asarray(estimate, np.float64))
    true, estimate = np.asarray(true)[known], np.asarray(estimate)[known]
    inside = (np.asarray(low)[known] <= true) & (true <= np.asarray(high)[known])
    varies = len(true) > 1 and np.ptp(true) > 0 and np.ptp(estimate) > 0
    return {
        "share_n": float(len(true)),
        "share_r": float(np.corrcoef(true, estimate)[0, 1]) if varies else math.nan,
        "share_mae": _mean([float(error) for error in np.abs(true - estimate)]),
        "share_coverage": _mean([float(one) for one in inside]),
    }


def area_under_roc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, NaN without both kinds or where a score is unknown."""
    return _areas(positive, score)[0]


def _areas(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> tuple[float, float]:
    """Return the areas under the ROC and the precision-recall curve, NaN without both kinds."""
    if positive.all() or not positive.any() or np.isnan(score).any():
        return math.nan, math.nan
    return float(metrics.roc_auc_score(positive, score)), float(
        metrics.average_precision_score(positive, score)
    )


def _balanced_accuracy(labels: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the mean recall of the classes present."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", "A single label was found")
        return float(metrics.balanced_accuracy_score(labels, predicted))


def _mean(values: list[float]) -> float:
    """Return the mean of the known values, NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


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
    """Return the number of times each bag is in each resample, ``(n_resamples, n_bags)``.

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
    """Return the mean of the known values; NaN, without a warning, without any."""
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
