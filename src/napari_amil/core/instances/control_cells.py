"""Control cells of a model: their morphology, a sample with pictures, and nearest neighbours among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.control_sample import ControlSample, balanced_rows
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology, whole_cells
from napari_amil.core.base.columns import BOX_COLUMNS, MORPH, MORPH_Z, column_name
from napari_amil.core.base.settings import CellKind
from napari_amil.core.instances.gather import Gathered
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import Instances, measurements_of
from napari_amil.core.mil.model import AmilModel, embed_all
from napari_amil.core.morphology.names import MEASUREMENTS, names_by_number


def morphology_columns(measurements: NDArray[Any], control: ControlMorphology | None) -> pd.DataFrame:
    """Return ``morph_<name>`` and ``morph_<name>_z`` of some cells, and ``morph_distance`` of all together.

    Parameters
    ----------
    measurements
        ``(n_cells, n_measurements)``
    control
        Statistics of control cells; without them deviations and distance are NaN.
    """
    values = np.asarray(measurements, dtype=np.float64)
    z = np.full(values.shape, np.nan) if control is None else control.deviations(values)
    columns: dict[str, NDArray[np.float64]] = {}
    for number, name in enumerate(names_by_number(values.shape[1])):
        columns |= {column_name(MORPH, name): values[:, number], column_name(MORPH_Z, name): z[:, number]}
    columns["morph_distance"] = np.full(len(values), np.nan) if control is None else control.distance(values)
    return pd.DataFrame(columns)


def measurements_in(table: pd.DataFrame, kind: CellKind) -> NDArray[np.float32]:
    """Return the measurements ``(n_cells, n_measurements)`` of a table with ``morph_<name>`` columns."""
    columns = [column_name(MORPH, name) for name in MEASUREMENTS[kind]]
    return table[columns].to_numpy(np.float32, copy=True)


def control_sample(
    gathered: Gathered, bags: BagArrays, model: AmilModel, device: torch.device, seed: int = 0
) -> ControlSample:
    """Return some whole control cells of all patients, with their pictures where the encoder sees pixels.

    Parameters
    ----------
    gathered
        Its values are crops or feature maps with measurements.
    bags
        The same cells as bags.
    """
    rows, patients = bags.control_cells()
    whole = np.flatnonzero(whole_cells(measurements_of(gathered.values[rows])))
    chosen = rows[whole[balanced_rows([patients[row] for row in whole], seed=seed)]]
    instances = Instances.from_values(gathered.values[chosen])
    z: Tensor = embed_all(model, instances, device).mean(dim=1)
    pixels = instances.pixels.numpy()
    return ControlSample.from_cells(
        z,
        gathered.boxes[chosen],
        gathered.images[chosen].tolist(),
        pixels if pixels.dtype == np.uint8 else None,
    )


def nearest_controls(z: NDArray[np.floating], controls: ControlSample, count: int = 5) -> pd.DataFrame:
    """Return the control cells that some cells are most like, one line per cell and neighbour.

    Parameters
    ----------
    z
        ``(n_cells, k)`` embeddings (`Scored.embeddings`).
    controls
        The sample in the bundle; `ControlSample.thumbnails` shows its rows.
    count
        Neighbours of each cell.

    Returns
    -------
    DataFrame
        ``cell`` (row of ``z``), ``rank`` from 1, ``control`` (row of the sample), ``image``, ``y0`` to
        ``x1`` and ``distance`` (Euclidean, of the embeddings).
    """
    rows, distance = controls.nearest(torch.from_numpy(np.array(z, dtype=np.float32)), count)
    chosen = rows.ravel()
    n_cells, n_found = rows.shape
    boxes = controls.boxes.numpy()[chosen]
    return pd.DataFrame(
        {
            "cell": np.repeat(np.arange(n_cells), n_found),
            "rank": np.tile(np.arange(1, n_found + 1), n_cells),
            "control": chosen,
            "image": np.array(controls.images, dtype=object)[chosen],
            **dict(zip(BOX_COLUMNS, boxes.T, strict=True)),
            "distance": distance.ravel(),
        }
    )
