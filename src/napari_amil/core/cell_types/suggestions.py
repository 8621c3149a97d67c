"""Choice of the cells worth naming next: those the classifier is unsure of, unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.types import Floats
from napari_amil.core.cell_types.classifier import TypeClassifier

_POOL = 30


def worth_naming(
    classifier: TypeClassifier, values: Floats, candidates: NDArray[np.int64], n_wanted: int = 20
) -> NDArray[np.int64]:
    """Return the rows of the cells that are worth naming next, the first the most.

    Of the cells with the smallest margin between the two most probable types, or that are like no named type,
    each next is the one farthest from those chosen before, in standardised features.

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
    doubt = 1 - (ordered[:, -1] - ordered[:, -2]) + (classifier.likeness(own) > 1)
    pool = np.argsort(-doubt, kind="stable")[: n_wanted * _POOL]
    u = classifier.standardised(own[pool])
    chosen = [0]
    nearest = np.linalg.norm(u - u[0], axis=1)
    while len(chosen) < min(n_wanted, len(pool)):
        following = int((nearest * doubt[pool]).argmax())
        if nearest[following] <= 0:
            break
        chosen.append(following)
        nearest = np.minimum(nearest, np.linalg.norm(u - u[following], axis=1))
    return candidates[pool[chosen]]
