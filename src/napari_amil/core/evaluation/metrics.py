"""Figures of merit of bags and of cells, from labels and scores."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

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
    """Return the mean of what is known, NaN if nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
