"""Features of the type classifier: the embedding of a cell and its named measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import MORPH, column_name
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Floats
from napari_amil.core.morphology.measures import NAMES

_SCALED = ("diameter_px",)
"""Measurements that depend on the pixels of a microscope."""
MEASURED = tuple(name for name in NAMES if name not in _SCALED)
"""Named measurements that the classifier sees."""


def feature_names(embedding_dim: int) -> tuple[str, ...]:
    """Return the name of each feature: ``z0`` and so on, then the measurements."""
    return (*(f"z{number}" for number in range(embedding_dim)), *MEASURED)


def features_of(cells: pd.DataFrame, embeddings: NDArray[np.float32]) -> Floats:
    """Return the features ``(n_cells, n_features)`` of cells, row for row; NaN where one is unknown.

    Parameters
    ----------
    cells
        With the columns ``morph_<name>``.
    embeddings
        ``(n_cells, k)``.

    Raises
    ------
    AmilError
        If the table has no measurements.
    """
    columns = [column_name(MORPH, name) for name in MEASURED]
    missing = [name for name in columns if name not in cells]
    if missing:
        raise AmilError(f"The table of cells has no column '{missing[0]}'; score the cohort again.")
    return np.column_stack([embeddings, cells[columns].to_numpy(np.float64)])


def parts_of(names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of the features that belong to the embedding and to the measurements."""
    measured = np.array([name in MEASURED for name in names])
    return {"embedding": ~measured, "measurements": measured}
