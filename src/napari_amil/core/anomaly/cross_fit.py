"""Scores of control cells by channels that were fitted without them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import Event, Warned, translated
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Floats


def cross_fit_channels(
    controls: CellInputs,
    part: NDArray[np.int64],
    settings: RunSettings,
    device: torch.device,
    kept: Mapping[str, CellScorer] | None = None,
) -> Generator[Event, None, dict[str, Floats]]:
    """Return the scores of control cells by channels fitted without their part; the network stays.

    Parameters
    ----------
    part
        ``(n_cells,)`` of `napari_amil.core.anomaly.patients.parts_of_patients`.
    kept
        Channels that were fitted to none of these cells, and stay as they are.
    """
    found: list[tuple[NDArray[np.int64], dict[str, Floats]]] = []
    for number in np.unique(part):
        rows = np.flatnonzero(part == number)
        others = controls.take(part != number).without_patients()
        model = yield from fit_quietly(others, settings, device, kept)
        found.append((rows, model.channel_scores(controls.take(rows))))
    return held_out_scores(found, len(controls))


def fit_quietly(
    controls: CellInputs,
    settings: RunSettings,
    device: torch.device,
    kept: Mapping[str, CellScorer] | None = None,
) -> Generator[Event, None, AnomalyModel]:
    """Fit the channels to a part of the control cells without warnings, which the whole has given."""
    work = AnomalyModel.fit(controls, settings, device, kept=kept)
    return (yield from translated(work, lambda event: None if isinstance(event, Warned) else event))


def held_out_scores(
    parts: Sequence[tuple[NDArray[np.int64], Mapping[str, Floats]]], n_cells: int
) -> dict[str, Floats]:
    """Return the scores ``(n_cells,)`` that the parts give their cells; NaN for a cell of no part.

    A channel that a part does not have, because too few cells were left to fit it to, is left out.

    Parameters
    ----------
    parts
        Rows of the cells of each part, and ``channel -> scores``.
    """
    merged: dict[str, Floats] = {}
    for name in parts[0][1]:
        if all(name in scores for _, scores in parts):
            merged[name] = np.full(n_cells, np.nan)
            for rows, scores in parts:
                merged[name][rows] = scores[name]
    return merged


def empty_boxes(controls: CellInputs) -> Iterator[Warned]:
    """Yield a warning where boxes of control bags hold no whole cell."""
    empty = ~controls.whole
    if empty.any():
        names = controls.patients
        first = "" if names is None else f", the first of '{names[empty.argmax()]}'"
        yield Warned(
            f"{empty.sum()} of {len(empty)} control boxes hold no whole cell and are left out of the "
            f"calibration{first}: nothing is in them, or a pointer or printed line crosses it."
        )
