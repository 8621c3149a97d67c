"""How a run stands, in a sentence: what is done now, how far it is, how long it will take."""

from __future__ import annotations

import math

from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.training.run_log import RunLog, TrainingLog
from napari_amil.plugin.training.runs import ABLATION, DETECTOR, Run, Status
from napari_amil.plugin.training.time_left import duration, seconds_left

_DETECTOR_STEPS = {
    "annotations": "Reading annotation {} of {}",
    "read": "Reading image {} of {}",
    "held-out": "Comparing old and new on held-out image {} of {}",
}


def in_words(run: Run, status: Status, settings: RunSettings) -> str:
    """Return how a run stands now."""
    if status.state not in {"running", "paused", "stopping"} or run.is_cancelling:
        return status.sentence
    if run.kind == DETECTOR:
        parts, left = _of_detector(run.log), _detector_seconds(run.log)
    elif run.kind == ABLATION:
        parts, left = _of_ablation(run.log), math.nan
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
    """Return how much of what is done; a total of 0 where nobody knows."""
    training, step = run.log.now, run.log.step
    stages = {"images", "calibration", "study", "train-detector", *_DETECTOR_STEPS}
    if step is not None and step.stage in stages and step.total > 1:
        return step.done, step.total
    if training is not None and training.last is not None:
        return training.last.epoch + (run.kind != DETECTOR), training.last.n_epochs
    return 0, 0


def which_words(training: TrainingLog) -> str:
    """Return which training of a run this is."""
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
