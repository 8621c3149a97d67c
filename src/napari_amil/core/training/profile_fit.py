"""Fit of the bag profile of a network to the measurements of the cells that taught it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.morphology.measures import is_empty
from napari_amil.core.morphology.names import names_by_number

_OF_THE_IMAGE = frozenset({"diameter_px", "density", "density_total", "blueness", "cytoplasm_blueness"})
"""Measurements of magnification and stain rather than of the cell; they do not count."""


def fit_profile(
    model: AmilModel, bags: BagArrays, measurements: NDArray[Any] | None, units: NDArray[np.str_]
) -> None:
    """Fit the profile in place, where the model has one and the cells are measured.

    Parameters
    ----------
    measurements
        ``(n_instances, m)`` of the stored cells.
    units
        ``(n_instances,)`` from `napari_amil.core.training.units.independent_units`.
    """
    if model.profile is None or measurements is None:
        return
    rows = bags.control_cells(teaching=True)[0]
    whole = rows[~is_empty(measurements[rows])]
    if not len(whole):
        return
    names = names_by_number(measurements.shape[1])
    counted = np.array([name not in _OF_THE_IMAGE for name in names])
    model.profile.set_controls(measurements[whole], units[whole])
    model.profile.fit(measurements, bags.rows, bags.labels, counted)
