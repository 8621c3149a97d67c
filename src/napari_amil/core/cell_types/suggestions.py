"""Choice of the cells worth naming next: those the classifier is unsure of, one of each kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from napari_amil.core.base.types import Floats
from napari_amil.core.cell_types.classifier import TypeClassifier

_POOL = 5
"""Doubtful cells that are looked at for each one wanted; beyond these, the classifier is sure enough."""


def worth_naming(
    classifier: TypeClassifier, values: Floats, candidates: NDArray[np.int64], n_wanted: int = 20
) -> NDArray[np.int64]:
    """Return the rows of the cells that are worth naming next, the first the most.

    The cells with the smallest margin between the two most probable types are put into as many groups as
    cells are wanted (k-means of the standardised features), and the cell in the middle of each is returned.
    So a kind of cell counts once, however often it occurs. Cells that are like no named type are not
    preferred: most of them are odd by themselves, and their names teach little of others.

    Parameters
    ----------
    values
        Features of all cells.
    candidates
        Rows of the cells without a name.
    n_wanted
        Length of the list.
    """
    if not len(candidates) or n_wanted < 1:
        return np.empty(0, np.int64)
    own = values[candidates]
    ordered = np.sort(classifier.probability(own), axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    pool = np.argsort(margin, kind="stable")[: n_wanted * _POOL]
    u, first = np.unique(classifier.standardised(own[pool]), axis=0, return_index=True)  # a cell in two bags
    groups = KMeans(min(n_wanted, len(u)), n_init=1, random_state=0).fit(u)
    nearest = {int(first[np.linalg.norm(u - middle, axis=1).argmin()]) for middle in groups.cluster_centers_}
    return candidates[pool[sorted(nearest)]]
