"""Detection of cell types unseen in training, by each anomaly score and by joint scores.

Usage: python -m benchmarks.anomaly_joints CHULA_SLIDES --out FOLDER [--test-fold 0] [--networks memae ...]

FOLDER is that of `benchmarks.anomaly_models` with the same ``--test-fold``: networks that lie there are
taken, trained with seed 0; with ``--test-fold 0`` or ``1`` fold 2 is not looked at. Printed is the area under
the ROC curve of each kind against normal cells, by

* the named measurements with several roundnesses of their covariance (`ModelSettings.roundness`), in
  the same way with the variance between control slides added, so that directions in which healthy slides
  differ count less, and by the mean of the k largest deviations alone;
* the networks, and each joined with the measurements (`JointDistance`), weights in brackets. Joints refer to
  the control cells of the training, which the networks have seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.anomaly_models import (
    KNOWN_KINDS,
    LEFT_OUT_KINDS,
    BenchmarkCells,
    areas,
    measured_cells,
    split,
)
from napari_amil.core.anomaly.channels import RECONSTRUCTIONS
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology, whole_cells
from napari_amil.core.base.settings import RunSettings

ROUNDNESSES = (0.0, 0.3, 0.7)
WEIGHTS = (0.25, 0.5)
"""Share of a network in a joint."""
_MOST = 8.0  # control deviations, as in `ControlMorphology`
_FEWEST = 25  # cells of a control slide whose mean counts
Scores = tuple[NDArray[Any], NDArray[Any]]


def measured_scores(cells: BenchmarkCells, test_fold: int) -> dict[str, Scores]:
    """Return ``name -> scores of the control cells and of the test``, by the named measurements."""
    controls, test, _ = split(cells, test_fold)
    known, tested = cells.inputs(controls), cells.inputs(test)
    assert known.measurements is not None
    assert tested.measurements is not None
    whole = whole_cells(known.measurements)
    found: dict[str, Scores] = {}
    for roundness in ROUNDNESSES:
        fitted = ControlMorphology.fit(known.measurements[whole], roundness)
        pair = known.measurements[whole], tested.measurements
        found[f"measurements, roundness {roundness:g}"] = (fitted.distance(pair[0]), fitted.distance(pair[1]))
    plain = ControlMorphology.fit(known.measurements[whole])
    deviations = [np.clip(np.nan_to_num(plain.deviations(values)), -_MOST, _MOST) for values in pair]
    slides = cells.table["slide"].to_numpy(np.str_)[controls][whole]
    found["measurements, slides apart"] = _between(deviations, slides)
    for k in (1, 3):
        largest = [np.sort(np.abs(values), axis=1)[:, -k:].mean(axis=1) for values in deviations]
        found[f"measurements, {k} largest"] = (largest[0], largest[1])
    return found


def _between(deviations: list[NDArray[Any]], slides: NDArray[np.str_]) -> Scores:
    """Return distances by the covariance within control slides and ten times that of their means."""
    known = [deviations[0][slides == slide] for slide in np.unique(slides)]
    known = [own for own in known if len(own) >= _FEWEST]
    means = np.stack([own.mean(axis=0) for own in known])
    within = np.mean([np.cov(own.T) for own in known], axis=0)
    covariance = within + 10 * np.cov(means.T, bias=True) + 1e-3 * np.eye(len(within))
    factor = np.linalg.inv(np.linalg.cholesky(covariance)).T
    far = [np.linalg.norm((values - means.mean(axis=0)) @ factor, axis=1) for values in deviations]
    return far[0], far[1]


def network_scores(given: argparse.Namespace, cells: BenchmarkCells) -> dict[str, Scores]:
    """Return the scores of the trained networks."""
    controls, test, _ = split(cells, given.test_fold)
    found: dict[str, Scores] = {}
    for name in given.networks:
        scorer = RECONSTRUCTIONS[name.partition("+")[0]](RunSettings().model)
        scorer.load_state_dict(torch.load(given.out / f"{name}-0.pt", weights_only=True))
        found[name] = (scorer.score(cells.inputs(controls)), scorer.score(cells.inputs(test)))
    return found


def joined(first: Scores, second: Scores, share: float) -> NDArray[Any]:
    """Return the joint distance of the test, with ``share`` for the second."""
    held = [scores[0][np.isfinite(scores[0])] for scores in (first, second)]
    joint = JointDistance.fit(held, [1 - share, share], [False, False])
    return joint.distance([first[1], second[1]])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--test-fold", type=int, default=0, choices=(0, 1, 2))
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--most", type=int, default=150)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cells = measured_cells(given)
    types = cells.table["cell_type"].to_numpy(np.str_)[split(cells, given.test_fold)[1]]
    measured, networks = measured_scores(cells, given.test_fold), network_scores(given, cells)
    rows = {name: scores[1] for name, scores in (measured | networks).items()}
    for name, scores in networks.items():
        for roundness in ROUNDNESSES:
            own = f"measurements, roundness {roundness:g}"
            for share in WEIGHTS:
                rows[f"{own} ({1 - share:g}) + {name} ({share:g})"] = joined(measured[own], scores, share)
    print(f"| score | known | left out | {' | '.join((*KNOWN_KINDS, *LEFT_OUT_KINDS))} |")
    print("|---" * (3 + len(KNOWN_KINDS) + len(LEFT_OUT_KINDS)) + "|")
    for name, score in rows.items():
        found = areas(score, types)
        means = [np.mean([found[k] for k in part if k in found]) for part in (KNOWN_KINDS, LEFT_OUT_KINDS)]
        each = [f"{found[k]:.2f}" if k in found else "" for k in (*KNOWN_KINDS, *LEFT_OUT_KINDS)]
        print(f"| {name} | {means[0]:.3f} | {means[1]:.3f} | {' | '.join(each)} |")


if __name__ == "__main__":
    main()
