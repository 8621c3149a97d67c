"""How long a training will go on, from how long its epochs took, in words."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.training.run_log import RunLog, TrainingLog

_RECENT = 8
_RESTING = 0.03
"""A guess, until it is known: the time of an epoch over bags with a resting encoder, in epochs over cells."""


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(42), duration(540), duration(7500)
    ('42 s', '9 min', '2 h 5 min')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def n_cell_epochs(settings: RunSettings) -> int:
    """Return the epochs over single cells that a training with these settings has."""
    wanted = settings.model.sic or settings.training.hypersphere_weight > 0
    return settings.training.cell_epochs if wanted else 0


def training_units(settings: RunSettings, bag_epoch: float) -> tuple[float, float]:
    """Return the cost of a training, and of the networks for honest p-values after it.

    The unit is an epoch over single cells, or over bags where there are none over cells;
    ``bag_epoch`` is the cost of one over bags.
    """
    cells, bags = n_cell_epochs(settings), settings.training.max_epochs
    whole = cells + bags * bag_epoch
    folds = settings.training.calibration_folds
    if folds < 2:
        return whole, 0.0
    again = whole if settings.training.train_encoder_on_bags or not cells else cells
    return whole, (folds - 1) * again


def seconds_left(log: RunLog, settings: RunSettings) -> float:
    """Return the seconds until the run ends, NaN while nothing can be said.

    What a stopped training or a small loss saves is not known before.
    """
    training = log.now
    if training is None or len(training.times) < 2:
        return math.nan
    cell, bag = _epoch_seconds(training, n_cell_epochs(settings))
    unit = cell if math.isfinite(cell) else bag
    if not math.isfinite(unit) or unit <= 0:
        return math.nan
    resting = n_cell_epochs(settings) and not settings.training.train_encoder_on_bags
    cost = bag / unit if math.isfinite(bag) else (_RESTING if resting else 1.0)
    whole, after = training_units(settings, cost)
    done = _units_done(training, settings, cost) + _calibrated(log, after)
    left = max(whole + after - done, 0.0)
    return unit * (left + (training.total - training.number) * (whole + after))


def _epoch_seconds(training: TrainingLog, cells: int) -> tuple[float, float]:
    """Return the median time of the latest epochs over single cells, and over bags; NaN if unknown."""
    epochs = sorted(training.times)
    steps = [
        (epoch, training.times[epoch] - training.times[before])
        for before, epoch in pairwise(epochs)
        if epoch == before + 1 and epoch != cells  # the first over bags also embeds every cell
    ]
    of_cells = [seconds for epoch, seconds in steps if epoch < cells][-_RECENT:]
    of_bags = [seconds for epoch, seconds in steps if epoch > cells or not cells][-_RECENT:]
    return (median(of_cells) if of_cells else math.nan), (median(of_bags) if of_bags else math.nan)


def _units_done(training: TrainingLog, settings: RunSettings, cost: float) -> float:
    last = max(training.epochs) + 1
    cells = n_cell_epochs(settings)
    return min(last, cells) + max(last - cells, 0) * cost


def _calibrated(log: RunLog, after: float) -> float:
    """Return the part of the cost of the calibration that is over."""
    step = log.step
    if step is None or step.stage != "calibration" or not step.total:
        return 0.0
    number, total = _network(step.message)
    inside = step.done / step.total if total else 0.0
    return after * (number - 1 + inside) / total if total else 0.0


def _network(message: str) -> tuple[int, int]:
    """Return number and total in "Network 2 of 3", zeros if it says something else."""
    words = message.split()
    if len(words) == 4 and words[0] == "Network" and words[1].isdigit() and words[3].isdigit():
        return int(words[1]), int(words[3])
    return 0, 0
