"""Types of cells from names that a person gave."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from napari_amil.api.models import Place
from napari_amil.api.progress import Finished, Show
from napari_amil.api.results import Results
from napari_amil.core import pipeline


def classify(
    results: Results,
    names: pd.DataFrame | Place | None = None,
    *,
    classifier: Place | None = None,
    out: Place | None = None,
    progress: Show = False,
) -> pipeline.Typed:
    """Learn cell types from cells that were named by hand, and give every cell a type.

    Names never change an anomaly score or a verdict.

    Parameters
    ----------
    results
        Scores of the cells, from `score` or `load_results`.
    names
        Table ``image, cell_type``, and ``cell_id`` or the box ``y0, x0, y1, x1``; or a file or folder of
        QuPath (GeoJSON with classes), LabelMe or YOLO; the column ``cell_type`` of the results if neither it
        nor a classifier is given.
    classifier
        ``types.safetensors`` of an earlier call with ``out``: instead of names, or improved by them.
    out
        Folder to write tables, validation and the classifier into.
    progress
        True for a progress bar, or a function that is called with every event.

    Returns
    -------
    Typed
        ``cells`` (a table with ``type`` and the probability of each), ``counts`` of each sample with
        intervals, ``validation`` by slide, rows ``worth_naming`` next, and what tells the types apart in
        ``sentences()``.

    Raises
    ------
    AmilError
        If there are too few names, or the classifier belongs to another model.
    """
    finished = Finished()
    given = names if names is None or isinstance(names, pd.DataFrame) else Path(names)
    file = None if classifier is None else Path(classifier)
    found = finished.run(pipeline.classify_project(results.project, given, file), progress)
    if out is not None:
        pipeline.write_typed(found, Path(out))
    finished.warn()
    return found
