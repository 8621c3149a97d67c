"""Progress of a run in words, and the time until it ends."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median

from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.training.run_commands import ABLATION, DETECTOR, NETWORKS
from napari_amil.plugin.training.run_log import RunLog, TrainingLog
from napari_amil.plugin.training.runs import Run, Status

_RECENT = 8
_RESTING = 0.03
"""A guess, until it is known: the time of an epoch over bags with a resting encoder, in epochs over cells."""
_DETECTOR_STEPS = {
    "annotations": "Reading annotation {} of {}",
    "read": "Reading image {} of {}",
    "held-out": "Comparing old and new on held-out image {} of {}",
}


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
    """Return the seconds until the run ends, NaN while they are unknown.

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


def in_words(run: Run, status: Status, settings: RunSettings) -> str:
    """Return the present state of a run in words."""
    if status.state not in {"running", "paused", "stopping"} or run.is_cancelling:
        return status.sentence
    if run.kind == DETECTOR:
        parts, left = _of_detector(run.log), _detector_seconds(run.log)
    elif run.kind == ABLATION:
        parts, left = _of_ablation(run.log), math.nan
    elif run.kind == NETWORKS:
        parts, left = _of_training(run.log), _network_seconds(run.log)
    else:
        parts, left = _of_training(run.log), seconds_left(run.log, settings)
    if status.state == "stopping":  # a test after the last epoch may take longer than that epoch
        return " · ".join([status.sentence.removesuffix(" …"), parts[-1]])
    if status.state == "paused":
        return " · ".join([*parts, "paused"])
    if run.kind == ABLATION:
        return " · ".join(parts)
    words = duration(left)
    return " · ".join([*parts, f"about {words} left" if words != "unknown" else "time left not known yet"])


def progress(run: Run) -> tuple[int, int]:
    """Return the finished part and the total of a run; a total of 0 where it is not known."""
    training, step = run.log.now, run.log.step
    stages = {"images", "calibration", "study", "train-detector", *_DETECTOR_STEPS}
    if step is not None and step.stage in stages and step.total > 1:
        return step.done, step.total
    if training is not None and training.last is not None:
        return training.last.epoch + (run.kind != DETECTOR), training.last.n_epochs
    return 0, 0


def which_words(training: TrainingLog) -> str:
    """Return the number and the name of a training of a run in words."""
    return f"Training {training.number} of {training.total} ({training.name})"


def _of_training(log: RunLog) -> list[str]:
    training, step = log.now, log.step
    parts = [] if training is None or training.total < 2 else [which_words(training)]
    if step is not None and step.stage == "images":
        return [*parts, f"Reading image {step.done + 1} of {step.total}"]
    if step is not None and step.stage == "calibration":
        return [*parts, "Calibrating p-values" + (f": {step.message.lower()}" if step.message else "")]
    if training is not None and training.last is not None:
        return [*parts, f"Epoch {training.last.epoch + 1} of {training.last.n_epochs}"]
    return [*parts, "The first epoch runs"]


def _network_seconds(log: RunLog) -> float:
    """Return the seconds until the last network has learned, from the pace of the latest epochs."""
    training = log.now
    if training is None or training.last is None or len(training.times) < 2:
        return math.nan
    times = [training.times[epoch] for epoch in sorted(training.times)][-_RECENT:]
    pace = (times[-1] - times[0]) / (len(times) - 1)
    whole = training.last.n_epochs
    return pace * (whole - training.last.epoch - 1 + (training.total - training.number) * whole)


def _of_detector(log: RunLog) -> list[str]:
    step = log.step
    if step is None:
        return ["Starting"]
    if step.stage in _DETECTOR_STEPS:
        return [_DETECTOR_STEPS[step.stage].format(step.done + 1, step.total)]
    if step.stage == "train-detector":
        return [f"Step {step.done} of {step.total}"]
    return ["Measuring the old detector"]


def _detector_seconds(log: RunLog) -> float:
    """Return the seconds until the last step, from the pace since the last look at the held-out images."""
    training, step = log.now, log.step
    if training is None or step is None or step.stage != "train-detector":
        return math.nan
    known = [epoch for epoch in training.times if epoch < step.done]
    if not known:
        return math.nan
    last = max(known)
    return (log.time - training.times[last]) / (step.done - last) * (step.total - step.done)


def _of_ablation(log: RunLog) -> list[str]:
    step = log.step
    if step is None:
        return ["Reading the cohort"]
    if step.stage == "study":
        return [f"Training {min(step.done + 1, step.total)} of {step.total}", *filter(None, [step.message])]
    return [f"Reading image {step.done + 1} of {step.total}"]
