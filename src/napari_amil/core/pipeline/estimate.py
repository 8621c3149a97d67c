"""Estimate time and memory of a training from a few steps on some of its bags."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import pairwise

import psutil

from napari_amil.core.base.events import EpochReport, Event, Step
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.gather import Gathered, gather, without_cut_cells
from napari_amil.core.instances.sources import Source
from napari_amil.core.pipeline.train import as_arrays
from napari_amil.core.training.loop import fit_model

_IMAGES_PER_CLASS = 2
_BAGS_PER_CLASS = 2  # so that clinical values differ
_EPOCHS = 2  # of each kind; the first is slower than all others
_COPIES = 5.0  # cells are held as they were read, as those of a step, and as tensors: measured


@dataclass(frozen=True)
class Estimate:
    """Expected time and memory of a run.

    Parameters
    ----------
    seconds, gigabytes
        Time of the whole run; most memory of its process (not that of a graphics card).
    n_cells, n_measured
        Cells of the cohort (of which those to be found are guessed), and those that were measured on.
    """

    seconds: float
    gigabytes: float
    n_cells: int
    n_measured: int


def estimating(source: Source, recipe: Recipe, n_trainings: int) -> Generator[Event, None, Estimate]:
    """Read a few images of each class, train two epochs of each kind on them, and extrapolate.

    Raises
    ------
    AmilError
        If none of these images can be used.
    """
    settings = recipe.settings
    labelled = replace(source, cohort=source.cohort.where(lambda bag: bag.label is not None))
    part = _part(labelled)
    began = time.perf_counter()
    gathered: Gathered = without_cut_cells((yield from gather(part, recipe, measured_instances)))
    per_image = (time.perf_counter() - began) / len(part.files)
    bags = as_arrays(gathered, embed_measurements=settings.model.measured)
    times = [time.perf_counter()]
    for event in fit_model(bags, _short(settings), recipe.device):
        if isinstance(event, EpochReport):
            times.append(time.perf_counter())
        elif isinstance(event, Step):
            yield event
    n_images = len({image for bag in labelled.cohort for image in bag.images})
    n_cells = _n_cells(labelled, gathered, n_images, len(part.files))
    scales = n_cells / len(gathered.values), len(labelled.cohort) / len(bags)
    seconds = n_images * per_image + n_trainings * _training_seconds(times, settings, scales)
    more = gathered.values.nbytes / len(gathered.values) * max(n_cells - len(gathered.values), 0) * _COPIES
    memory = (psutil.Process().memory_info().rss + more) / 2**30
    return Estimate(seconds, memory, n_cells, len(gathered.values))


def _part(source: Source) -> Source:
    """Return a few bags of every class."""
    n_images: Counter[str | None] = Counter()
    n_bags: Counter[str | None] = Counter()
    chosen = []
    for bag in source.cohort:
        few = n_images[bag.label] < _IMAGES_PER_CLASS
        if bag.images and (few or (bag.clinical and n_bags[bag.label] < _BAGS_PER_CLASS)):
            chosen.append(bag)
            n_images[bag.label] += len(bag.images)
            n_bags[bag.label] += 1
    names = {image for bag in chosen for image in bag.images}
    files = {name: place for name, place in source.files.items() if name in names}
    return Source(replace(source.cohort, bags=tuple(chosen)), files)


def _short(settings: RunSettings) -> RunSettings:
    cells = min(settings.training.cell_epochs, _EPOCHS)
    training = {"cell_epochs": cells, "max_epochs": _EPOCHS, "validation_fraction": 0.0}
    return settings.changed({"training": training, "model": {"pooled": ()}})


def _n_cells(source: Source, gathered: Gathered, n_images: int, n_read: int) -> int:
    """Return the cells of a cohort; those that are not listed are guessed from the images that were read."""
    listed = sum(bag.n_cells for bag in source.cohort)
    return listed or round(len(gathered.values) * n_images / n_read)


def _training_seconds(times: list[float], settings: RunSettings, scales: tuple[float, float]) -> float:
    """Return the time of one training with its calibration.

    Parameters
    ----------
    times
        When it began, and when each epoch ended.
    scales
        Factor by which the cohort has more cells, and bags.
    """
    training = settings.training
    steps = [later - earlier for earlier, later in pairwise(times)]
    has_cells = len(steps) > _EPOCHS
    of_cells = steps[-_EPOCHS - 1] * scales[0] if has_cells else 0.0
    rests = has_cells and not training.train_encoder_on_bags
    of_bags = steps[-1] * (scales[1] if rests else scales[0])
    embedding = max(steps[-_EPOCHS] - steps[-1], 0.0) * scales[0] if rests else 0.0
    n_cells = training.cell_epochs if has_cells else 0
    whole = n_cells * of_cells + embedding + training.max_epochs * of_bags
    again = whole if not rests else n_cells * of_cells
    folds = training.calibration_folds
    return whole + ((folds - 1) * again if folds > 1 else 0.0)
