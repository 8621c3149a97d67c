"""Cross-validation of the type classifier by slide: confusion matrix, figures, importances in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.model_selection import GroupKFold, StratifiedKFold

from napari_amil.core.base.measure_words import WORDS
from napari_amil.core.base.types import Floats
from napari_amil.core.cell_types.classifier import FEWEST, TypeClassifier
from napari_amil.core.cell_types.features import MEASURED, parts_of

_MOST_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Validation:
    """Quality of the types on slides that the classifier did not see.

    Parameters
    ----------
    confusion
        Cells by their given name (rows) and the predicted one (columns), in counts.
    macro_f1
        Mean over the types of the harmonic mean of precision and recall.
    by
        ``slide`` where whole slides were left out, ``cell`` where all named cells are of one slide.
    n_cells
        Cells that were predicted by a classifier that did not see their slide.
    """

    confusion: pd.DataFrame
    macro_f1: float
    by: str
    n_cells: int

    def table(self) -> pd.DataFrame:
        """Return one row per type: named cells, recall and precision."""
        counts = self.confusion.to_numpy()
        hit = np.diag(counts).astype(float)
        with np.errstate(invalid="ignore"):
            recall, precision = hit / counts.sum(axis=1), hit / counts.sum(axis=0)
        columns = {"n_cells": counts.sum(axis=1), "recall": recall, "precision": precision}
        return pd.DataFrame({"cell_type": self.confusion.index, **columns})


def cross_validate(
    values: Floats, names: NDArray[np.str_], slides: NDArray[np.str_], features: tuple[str, ...]
) -> Validation | None:
    """Predict every named cell by a classifier that did not see its slide.

    A slide with all cells of a type cannot be predicted for that type; these cells count as wrong. None if
    there are too few cells to leave any out.

    Parameters
    ----------
    values, names, slides
        ``(n_cells, n_features)``, and ``(n_cells,)`` twice: type and slide (or patient) of each cell.
    features
        Names of the features.
    """
    types = np.unique(names)
    n_slides = len(np.unique(slides))
    by = "slide" if n_slides > 1 else "cell"
    fewest = min(np.unique(names, return_counts=True)[1])
    n_folds = min(_MOST_FOLDS, n_slides if by == "slide" else fewest)
    if n_folds < 2:
        return None
    if by == "slide":
        parts = GroupKFold(n_folds).split(values, names, slides)
    else:
        parts = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(values, names)
    predicted = np.full(len(names), "", dtype=names.dtype)
    for train, test in parts:
        kept, counts = np.unique(names[train], return_counts=True)
        usable = np.isin(names[train], kept[counts >= FEWEST])
        if len(np.unique(names[train][usable])) < 2:
            continue
        fitted = TypeClassifier.fit(values[train][usable], names[train][usable], features)
        predicted[test] = fitted.predict(values[test], abstain=False)
    matrix = confusion_matrix(names, predicted, labels=types)
    score = float(f1_score(names, predicted, labels=types, average="macro", zero_division=0))
    return Validation(
        pd.DataFrame(matrix, index=types, columns=types), score, by, int((predicted != "").sum())
    )


def importances(classifier: TypeClassifier) -> pd.DataFrame:
    """Return the importance of each measurement, and of the embedding, for each type.

    The weight is that of the standardised measurement times where the named cells of the type lie, in
    standard deviations of all named cells: what the mean cell of the type gains by it in its logit over the
    mean of all types. ``words`` say it for the measurements.
    """
    weights = classifier.weights - classifier.weights.mean(axis=0)
    gains = weights * classifier.means
    parts = parts_of(classifier.features)
    rows = []
    for number, name in enumerate(classifier.types):
        inside = gains[number, parts["embedding"]].sum()
        rows.append({"cell_type": name, "feature": "embedding", "gain": inside, "words": ""})
        for column in np.flatnonzero(parts["measurements"]):
            feature = classifier.features[column]
            word = WORDS[feature][int(classifier.means[number, column] > 0)]
            rows.append({"cell_type": name, "feature": feature, "gain": gains[number, column], "words": word})
    table = pd.DataFrame(rows)
    return table.sort_values(["cell_type", "gain"], ascending=[True, False], ignore_index=True)


def in_words(table: pd.DataFrame, most: int = 3) -> list[str]:
    """Return a sentence per type: ``elliptocyte: longer, less circular than the other named cells``."""
    sentences = []
    for name, own in table[table["feature"].isin(MEASURED)].groupby("cell_type"):
        words = own[own["gain"] > 0]["words"].drop_duplicates().head(most).tolist()
        if words:
            sentences.append(f"{name}: {', '.join(words)} than the other named cells")
    return sentences
