"""Evidence for the scores of one field: words, nearest cells, and deletion of cells."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.channels import LATENT, MORPH, column_of
from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.anomaly.morphology.words import morphology_in_words
from napari_amil.core.anomaly.pooled import distance_columns, distance_in
from napari_amil.core.base.columns import scores_for
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event
from napari_amil.core.evaluation.faithfulness import SHARES, BagCells, deleting
from napari_amil.core.instances.control_cells import measurements_in
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.model.scorer import Scorer

LEVELS = (50.0, 95.0, 99.0)
"""Percentiles of control cells that a colour bar shows."""
MOST_WORDS = 5
NEIGHBOURS = 5
_UNUSUAL = 95.0  # percentile of control cells from which on a cell is described

Arrays = Mapping[str, NDArray[Any]]


def field_evidence(
    table: pd.DataFrame, latents: NDArray[np.float32], recipe: Recipe, model: str
) -> dict[str, NDArray[Any]]:
    """Return the evidence for the scores of the cells of one field, as arrays for ``numpy.savez``.

    Parameters
    ----------
    table
        One row per cell with ``cell_id``, scores, ``morph_*`` and ``status``.
    latents
        ``(n_cells, n_views, k)`` embeddings of its rows.
    recipe
        With the bundle that scored them.
    model
        Name of that bundle; embeddings of another are not compared with these.

    Returns
    -------
    ``cell_id (n,)``, embeddings ``z (n, k)``, ``measurements (n, m)``, ``words (n, 6)``, the scores
    ``anomaly``, ``latent_distance``, ``attention`` and ``pool_weight (n,)``, rows ``control (n, c)`` of
    ``control_picture (m, size, size, 3)`` and ``control_image (m,)`` with ``control_distance (n, c)``,
    ``control_level (3, 2)`` (per cents of held-out control cells that are less anomalous, and the distance
    from which on), and ``model ()``. The ``n`` cells are those with scores; ``c`` and ``m`` are 0 where
    the bundle has no control cells.
    """
    scorer = recipe.bundle.need_scorer()
    scored = (table["status"] == "scored").to_numpy()
    table, z = table[scored], latents[scored].mean(axis=1)
    return {
        "cell_id": table["cell_id"].to_numpy(np.int64),
        "z": z,
        "measurements": measurements_in(table, recipe.settings.model.cells),
        "words": _words(table, scorer),
        **{
            name: table[name].to_numpy(np.float64, copy=True)
            for name in (*scores_for("delete", table), *distance_columns(scorer.anomaly.pooled))
        },
        **_control_pictures(z, scorer.controls),
        "control_level": _control_levels(scorer.anomaly.calibration),
        "model": np.array(model),
    }


def _control_levels(calibration: Calibration) -> NDArray[np.float64]:
    distances = calibration.distances.numpy()
    reached = np.searchsorted(calibration.percentile(distances), LEVELS).clip(max=len(distances) - 1)
    return np.column_stack([LEVELS, distances[reached]])


def _words(table: pd.DataFrame, scorer: Scorer) -> NDArray[np.str_]:
    words = np.full((len(table), 1 + MOST_WORDS), "", dtype="<U80")
    morphology = scorer.anomaly.morphology
    if morphology is not None:
        parts = _parts_in_words(table, scorer)
        for number, row in enumerate(table.to_dict("records")):
            of_cell = parts[number] + morphology_in_words(row, morphology, most=MOST_WORDS)
            if np.isnan(row["morph_distance"]):
                of_cell = ["no whole cell is seen in its box, so nothing is measured"]
            words[number, : len(of_cell)] = of_cell
    return words


def _parts_in_words(table: pd.DataFrame, scorer: Scorer) -> list[list[str]]:
    """Return the anomaly of look and of measurements in words, for cells that are unusual in either."""
    names = scorer.anomaly.joined
    shares = scorer.anomaly.shares({name: table[column_of(name)].to_numpy() for name in names})
    if not shares.keys() >= {LATENT, MORPH}:
        return [[]] * len(table)
    less = 100.0 - 100.0 * np.clip(np.column_stack([shares[LATENT], shares[MORPH]]), 0.001, 1.0)
    return [
        [f"look: more unusual than {look:.3g} % of control cells; measurements: than {shape:.3g} %"]
        if max(look, shape) >= _UNUSUAL and np.isfinite(shape)
        else []
        for look, shape in less.tolist()
    ]


def _control_pictures(z: NDArray[np.float32], controls: ControlSample | None) -> dict[str, NDArray[Any]]:
    """Return the nearest control cells of each cell, and the picture of each that is the nearest of any."""
    n_cells = len(z)
    if controls is None or not len(controls.sheet) or not n_cells:
        nothing = np.empty((n_cells, 0))
        return {
            "control": nothing.astype(np.int64),
            "control_distance": nothing,
            "control_picture": np.empty((0, 1, 1, 3), np.uint8),
            "control_image": np.empty(0, "<U1"),
        }
    rows, distance = controls.nearest(torch.from_numpy(z), NEIGHBOURS)
    shown, place = np.unique(rows, return_inverse=True)
    return {
        "control": place.reshape(rows.shape),
        "control_distance": distance,
        "control_picture": np.stack(controls.thumbnails(shown)),
        "control_image": np.array([controls.images[row] for row in shown]),
    }


def nearest_cells(
    cell: tuple[str, int], groups: Mapping[str, Mapping[str, Arrays]], count: int = NEIGHBOURS
) -> dict[str, list[tuple[str, int, float]]]:
    """Return the cells of each group that one cell is most like, the nearest first.

    Parameters
    ----------
    cell
        Its image and ``cell_id``; one of the groups holds it.
    groups
        ``group -> image -> arrays`` of `field_evidence`. Images that another model scored are left out.
    count
        Number of each group.

    Returns
    -------
    ``group -> [(image, cell_id, distance)]``; the distance is Euclidean, of the embeddings.

    Raises
    ------
    AmilError
        If no group holds the cell.
    """
    name, number = cell
    fields = {image: arrays for group in groups.values() for image, arrays in group.items()}
    own = fields.get(name)
    rows: list[int] = np.flatnonzero(own["cell_id"] == number).tolist() if own is not None else []
    if own is None or not rows:
        raise AmilError(f"Cell {number} of '{name}' has no scores; score the image again.")
    z, model = own["z"][rows[0]], str(own["model"])
    found: dict[str, list[tuple[str, int, float]]] = {}
    for group, members in groups.items():
        near: list[tuple[str, int, float]] = []
        for image, arrays in members.items():
            if str(arrays["model"]) != model:
                continue
            far = np.linalg.norm(arrays["z"].astype(float) - z, axis=1)
            ids = arrays["cell_id"].tolist()
            near += [(image, i, float(d)) for i, d in zip(ids, far, strict=True) if (image, i) != cell]
        found[group] = sorted(near, key=lambda entry: entry[2])[:count]
    return found


def delete_from_field(arrays: Arrays, recipe: Recipe) -> Generator[Event, None, dict[str, Any]]:
    """Remove cells of one field, those that a score points at or random ones, and score the rest.

    Returns
    -------
    dict
        ``predicted`` class, ``shares`` removed (0 to 1), ``probability`` and ``logit`` of that class by
        order (``contribution``, ``anomaly``, ``attention``, ``pool_weight``, ``random``), ``areas``
        between random and each.
    """
    scorer = recipe.bundle.need_scorer()
    distance = distance_in(arrays, scorer.anomaly.pooled)
    scores = {name: np.asarray(arrays[name]) for name in scores_for("delete", arrays)}
    z = torch.from_numpy(np.asarray(arrays["z"]))
    measured = torch.from_numpy(np.asarray(arrays["measurements"]))
    cells = BagCells(z, distance, scores, scorer.temperature, measured)
    found = yield from deleting(scorer.model, cells, recipe.device, recipe.settings.training.seed)
    return {
        "predicted": scorer.classes[found.predicted],
        "shares": SHARES.tolist(),
        "probability": _lists(found.probability),
        "logit": _lists(found.logit),
        "areas": found.areas(),
    }


def _lists(curves: Mapping[str, Sequence[float] | NDArray[np.float64]]) -> dict[str, list[float]]:
    return {name: [float(value) for value in curve] for name, curve in curves.items()}
