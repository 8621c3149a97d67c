"""One distance from two: what a network and what named measurements say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def combined_distance(
    network: NDArray[Any], morphology: NDArray[Any], usual: tuple[float, float], weight: float = 0.5
) -> NDArray[np.float64]:
    """Return ``sqrt((1 - w) (d / m)^2 + w (d' / m')^2)`` for each cell, about 1 for a control cell.

    A network that never saw a kind of cell may map it onto control cells; its named measurements
    cannot be mapped away. Where the measurements of a cell are unknown the network alone counts.

    Parameters
    ----------
    network
        ``(n_cells,)`` distances d to the control Gaussian.
    morphology
        ``(n_cells,)`` distances d' of the named measurements (`ControlMorphology.distance`); may be NaN.
    usual
        Root mean squares m and m' of both among control cells.
    weight
        w, from 0 (network alone) to 1 (measurements alone).
    """
    by_network = (np.asarray(network, dtype=np.float64) / usual[0]) ** 2
    by_shape = (np.asarray(morphology, dtype=np.float64) / usual[1]) ** 2
    by_shape = np.where(np.isnan(by_shape), by_network, by_shape)
    return np.asarray(np.sqrt((1 - weight) * by_network + weight * by_shape))
