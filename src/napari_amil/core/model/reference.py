"""Check of a model calibrated to other controls: its verdicts on left-out ones, and its power."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.model.scorer import Scorer

_FAR = 2.0  # times the farthest control cell: a cell that nobody would call ordinary
_WANTED_P = 0.001  # which a cell needs to have q < 0.05 where one cell in fifty is as unusual
_MOST_TIMES = 64


@dataclass(frozen=True, eq=False)
class HeldOutCells:
    """Control cells with their distances from controls of other patients.

    Parameters
    ----------
    z
        ``(n_cells, k)`` embeddings.
    distances
        ``(n_cells,)`` distances to a Gaussian fitted without the patient; NaN where there is none.
    units
        ``(n_cells,)`` patient, or image.
    part
        ``(n_cells,)`` number of the part of the patients with which a cell is left out.
    measurements
        ``(n_cells, m)``, for a model that judges their distribution; None where they are not known.
    """

    z: Tensor
    distances: Tensor
    units: NDArray[Any]
    part: NDArray[np.int64]
    measurements: NDArray[Any] | None = None


def called_control(
    scorer: Scorer, cells: HeldOutCells, known: Tensor | None, control: int
) -> dict[str, float]:
    """Return the share of control samples that are called control when they are left out, and their number.

    Each part of the patients is left out in turn: the classifiers are referred to the others
    (`AmilModel.refer_to`, `BagProfile.set_controls`) and classify the cells of each patient of the part
    as a sample.

    Parameters
    ----------
    known
        ``(m, k)`` embeddings of control cells that the classifiers know; None refers them to nothing.
    control
        Number of the control class.

    Returns
    -------
    dict
        ``called_control`` and ``held_out_samples``; NaN and 0 if no cell was left out.
    """
    calls: list[bool] = []
    model = copy.deepcopy(scorer.model)
    judged = torch.isfinite(cells.distances).numpy()
    for number in np.unique(cells.part):
        inside = cells.part == number
        if known is not None:
            model.refer_to(cells.z[torch.from_numpy(~inside)], known)
        if model.profile is not None and cells.measurements is not None:
            model.profile.set_controls(cells.measurements[~inside], cells.units[~inside])
        for unit in np.unique(cells.units[inside & judged]):
            rows = torch.from_numpy((cells.units == unit) & judged)
            with torch.inference_mode():
                n_cells = torch.tensor([int(rows.sum())])
                measured = None if cells.measurements is None else cells.measurements[rows.numpy()]
                measurements = None if measured is None else torch.from_numpy(measured)
                output = model.aggregate(cells.z[rows], n_cells, cells.distances[rows], None, measurements)
            calls.append(int(output.logits.argmax()) == control)
    share = float(np.mean(calls)) if calls else float("nan")
    return {"called_control": share, "held_out_samples": float(len(calls))}


def power(calibration: Calibration) -> dict[str, float]:
    """Return the p-value that a far cell can reach with the present number of control patients.

    Returns
    -------
    dict
        ``reachable_p``: p of a cell twice as far as the farthest control cell; ``n_patients``; and
        ``patients_wanted``: patients who differ as these do, with whom such a cell has p <= 0.001; NaN
        if not even 64 times as many are enough, or patients are not known.
    """
    found = {"reachable_p": _reachable_p(calibration, 1), "n_patients": float(calibration.n_patients)}
    wanted = float("nan")
    if calibration.patients is not None:
        times = 1
        while times <= _MOST_TIMES and _reachable_p(calibration, times) > _WANTED_P:
            times *= 2
        wanted = float(times * calibration.n_patients) if times <= _MOST_TIMES else wanted
    return found | {"patients_wanted": wanted}


def _reachable_p(calibration: Calibration, times: int) -> float:
    """Return p of a far cell if there were several times as many patients like these."""
    distances = calibration.distances.cpu()
    far = np.array([_FAR * float(distances.max())])
    if times > 1 and calibration.patients is not None:
        patients = calibration.patients.cpu()
        shifts = torch.arange(times).repeat_interleave(len(patients)) * (int(patients.max()) + 1)
        calibration = Calibration(distances.repeat(times), patients.repeat(times) + shifts)
    return float(calibration.p_value(far)[0])
