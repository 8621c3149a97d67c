"""Baseline without a network: named measurements of a bag in a logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from napari_amil.core.base.types import Floats
from napari_amil.core.evaluation.metrics import nan_mean

_DECILES = np.arange(1, 10) / 10


def bag_features(measurements: NDArray[np.floating], rows: Sequence[NDArray[np.int64]]) -> Floats:
    """Return mean and deciles of the measurements of each bag, ``(n_bags, 10 * n_measurements)``.

    What is unknown of a cell is left out; a measurement that no cell of a bag has is NaN.

    Parameters
    ----------
    measurements
        ``(n_cells, n_measurements)``; NaN is unknown.
    rows
        Of each bag, the rows of its cells.
    """
    found = []
    for own in rows:
        values = np.asarray(measurements[own], dtype=np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        known = ~np.isnan(values).all(axis=0)
        deciles = np.full((len(_DECILES), values.shape[1]), np.nan)
        deciles[:, known] = np.nanquantile(values[:, known], _DECILES, axis=0)
        found.append(np.concatenate([nan_mean(values, axis=0), deciles.ravel()]))
    return np.stack(found)


def regression(seed: int = 0) -> Pipeline:
    """Return a logistic regression on standardised features; classes count equally, medians fill gaps."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=1.0, class_weight="balanced", max_iter=5000, random_state=seed),
    )


def baseline_probabilities(
    train: Floats, labels: NDArray[np.int64], test: Floats, n_classes: int, seed: int = 0
) -> Floats:
    """Return class probabilities ``(n_test, n_classes)``; 0 for a class that the training lacks.

    Parameters
    ----------
    train, test
        `bag_features` of the training and of the test bags.
    labels
        ``(n_train,)`` numbers of the classes.
    """
    model = regression(seed).fit(train, labels)
    probabilities = np.zeros((len(test), n_classes))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities
