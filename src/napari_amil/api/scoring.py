"""Score cells and samples, and hold the scores against known labels."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_amil.api.inputs import Images, KeptImages, Samples, paths_of, samples_of
from napari_amil.api.models import Changes, Model, Place, as_model
from napari_amil.api.progress import Finished, Show, figures
from napari_amil.api.results import Results, load_results
from napari_amil.core import pipeline
from napari_amil.core.base.errors import AmilError

Labels = NDArray[Any] | Mapping[str, NDArray[Any]]
"""Label image of the only image, or ``image -> label image``; 0 is background."""


def score(
    images: Images,
    model: Model | Place | None = None,
    *,
    cells: Labels | Place | None = None,
    out: Place | None = None,
    settings: Changes | None = None,
    progress: Show = False,
) -> Results:
    """Score every cell of images and every sample.

    Parameters
    ----------
    images
        An array ``(height, width, 3)``, a list of arrays (each a sample), ``sample -> array or list of
        arrays``, or paths: images, folders, patterns, or one cohort (a folder or a table).
    model
        The model that ships with the program if not given.
    cells
        Cells of another program: label images for arrays, a file or folder for paths; they are detected
        if not given.
    out
        Folder to write the results into, for `load_results` and the window; a run that was stopped goes on.
        One that holds scores of other images is refused.
    settings
        Settings that differ, such as ``{"selection": {"min_score": 0.7}}``.
    progress
        True for a progress bar, or a function that is called with every event.

    Raises
    ------
    AmilError
        If nothing can be scored. Inputs that cannot be used among others are listed in ``failures``.
    """
    chosen = as_model(model)
    recipe, finished, samples = chosen.recipe(settings), Finished(), samples_of(images)
    folder = None if out is None else pipeline.make_folder(Path(out))
    if samples is None:
        opening = pipeline.opening_source(paths_of(images), recipe.settings.control)
        source = finished.run(opening)
        if cells is not None:
            source = finished.run(pipeline.give_cells(source, _place(cells), recipe), progress)
        return _scored(source, recipe, chosen.file, folder, (finished, progress))
    kept = KeptImages(folder)
    try:
        source = pipeline.array_source(samples, kept.path, recipe, _labels(cells, samples))
        found = _scored(source, recipe, chosen.file, folder, (finished, progress))
    except BaseException:
        kept.remove()
        raise
    weakref.finalize(found, kept.remove)
    return found


def _scored(
    source: pipeline.Source,
    recipe: pipeline.Recipe,
    file: Path | None,
    out: Path | None,
    how: tuple[Finished, Show],
) -> Results:
    """Score a source, into a folder or in memory."""
    finished, progress = how
    if out is None:
        scored = finished.run(pipeline.score_source(source, recipe), progress)
        project = pipeline.project_of(scored, source, recipe, file)
    else:
        project = finished.run(pipeline.score_cohort(source, recipe, file, out), progress)
    finished.warn()
    return Results(project, finished.failures())


def _place(cells: Labels | Place) -> Path:
    """Return the path of the cells of images that are paths."""
    if isinstance(cells, np.ndarray | Mapping):
        raise AmilError("Images that are paths take their cells from a file or folder; give its path.")
    return Path(cells)


def _labels(cells: Labels | Place | None, samples: Samples) -> Mapping[str, NDArray[Any]] | None:
    """Return the label images of images that are arrays."""
    if cells is None or isinstance(cells, Mapping):
        return cells
    if not isinstance(cells, np.ndarray):
        raise AmilError("Images that are arrays take their cells from label images; give arrays too.")
    if len(samples) != 1 or len(next(iter(samples.values()))) != 1:
        raise AmilError("One label image belongs to one image; give a dictionary, image -> label image.")
    return {next(iter(samples)): cells}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Quality of the scores of a labelled cohort.

    Parameters
    ----------
    metrics
        Figures by name, such as ``accuracy``.
    results
        The scores themselves.
    folder
        Folder of the figures and tables.
    """

    metrics: dict[str, float]
    results: Results
    folder: Path

    def __repr__(self) -> str:
        return f"Evaluation({figures(self.metrics)}; see .metrics, .results, '{self.folder}')"


def evaluate(
    cohort: Place,
    out: Place,
    model: Model | Place | None = None,
    *,
    hold_out_fold: int | None = None,
    allow: Sequence[str] = (),
    progress: Show = False,
) -> Evaluation:
    """Score a labelled cohort, hold the scores against the labels, and write tables and figures.

    Parameters
    ----------
    cohort
        A folder, a cell list or a table of images.
    out
        Folder for the results.
    model
        The model that ships with the program if not given.
    hold_out_fold
        Use only the samples of this fold.
    allow
        ``"leaking-images"`` and ``"leaking-patients"``: go on with images and patients that taught the model.
    progress
        True for a progress bar, or a function that is called with every event.

    Raises
    ------
    AmilError
        If no sample can be scored or has a label that the model knows, or some taught it.
    """
    chosen = as_model(model)
    recipe, finished = chosen.recipe(), Finished()
    opening = pipeline.opening_cohort(Path(cohort), recipe.settings.control, to_score=True)
    source = pipeline.cohort_source(finished.run(opening))
    if hold_out_fold is not None:
        source = pipeline.sources_by_fold(source, hold_out_fold)[1]
    folder = Path(out)
    metrics = finished.run(
        pipeline.evaluate_cohort(source, recipe, chosen.file, folder, allowed=allow), progress
    )
    finished.warn()
    results = load_results(folder)
    return Evaluation(metrics, Results(results.project, finished.failures()), folder)
