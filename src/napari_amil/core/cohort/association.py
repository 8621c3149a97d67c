"""Statistical association between columns of a cohort, and between numbers and classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, contingency
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from napari_amil.core.base.types import Floats


def between_columns(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return the p-value of the chi-squared test of a table of counts, and Cramér's V."""
    p = float(chi2_contingency(counts, correction=False).pvalue)
    return p, float(contingency.association(counts, method="cramer"))


def with_class(x: Floats, labels: NDArray[np.str_], n_splits: int) -> tuple[float, float]:
    """Return the cross-validated balanced accuracy of a linear discriminant, and its p-value."""
    spread = x.std(axis=0)
    classes = np.unique(labels)
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(len(classes), 1 / len(classes))
    )
    folds = StratifiedKFold(min(5, n_splits), shuffle=True, random_state=0)
    predicted = cross_val_predict(
        model, (x - x.mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0), labels, cv=folds
    )
    counts = confusion_matrix(labels, predicted, labels=classes)
    seen = counts[:, counts.any(axis=0)]
    p = float(chi2_contingency(seen, correction=False).pvalue)
    return float(np.mean(np.diag(counts) / counts.sum(axis=1))), p
