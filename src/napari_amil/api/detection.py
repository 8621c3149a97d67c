"""Find the cells of images."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_amil.api.inputs import Images, KeptImages, paths_of, samples_of
from napari_amil.api.models import Changes, Model, Place, as_model
from napari_amil.api.progress import Finished, Show
from napari_amil.core import pipeline
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells

Outline = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Detections:
    """The cells of one or more images.

    Parameters
    ----------
    cells
        One row per cell: ``image``, ``cell_id``, the box ``y0, x0, y1, x1`` in pixels, ``detection_score``,
        ``area_px`` (square pixels), ``touches_border``, ``overlaps``.
    outlines
        One polygon ``(n_points, 2)`` y, x in pixels per row of ``cells``.
    shapes
        ``image -> (height, width)`` in pixels.
    failures
        ``source, reason`` of images that could not be used.
    files
        ``image -> (path, page)``.
    """

    cells: pd.DataFrame
    outlines: list[Outline]
    shapes: dict[str, tuple[int, int]]
    failures: pd.DataFrame
    files: dict[str, tuple[Path, int]]

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        lost = f", {len(self.failures)} failures" if len(self.failures) else ""
        return f"Detections({len(self)} cells on {len(self.shapes)} images{lost}; see .cells, .labels())"

    def labels(self, image: str | None = None) -> NDArray[np.uint32]:
        """Return the label image ``(height, width)`` of an image; the labels are the ids of its cells.

        Parameters
        ----------
        image
            Its name; may be left out where there is one image.
        """
        name = one_of(image, list(self.shapes))
        return pipeline.labels_of_cells(self._cells_of(name), self.shapes[name])

    def draw(self, image: str | None = None) -> Figure:
        """Return a figure of an image with the outlines of its cells."""
        name = one_of(image, list(self.shapes))
        path, page = self.files[name]
        return pipeline.draw_cells(pipeline.read_image(path, page), self._cells_of(name).outlines)

    def _cells_of(self, image: str) -> Cells:
        rows = np.flatnonzero((self.cells["image"] == image).to_numpy())
        return Cells.from_table(self.cells.iloc[rows], tuple(self.outlines[row] for row in rows))


def one_of(name: str | None, known: Sequence[str]) -> str:
    """Return the name, or the only one there is.

    Raises
    ------
    AmilError
        If there is no such image, or several and none is named.
    """
    if name is None and len(known) == 1:
        return known[0]
    if name is None or name not in known:
        listed = ", ".join(known[:6]) + (" ..." if len(known) > 6 else "")
        raise AmilError(f"There is no image {name!r} here; name one of {listed}.")
    return name


def detect(
    images: Images,
    model: Model | Place | None = None,
    *,
    settings: Changes | None = None,
    progress: Show = False,
) -> Detections:
    """Find the cells of images.

    Parameters
    ----------
    images
        An array ``(height, width, 3)``, a path of an image, folder or pattern, a list of either, or
        ``name -> array``.
    model
        Model with the detector; the one that ships with the program if not given.
    settings
        Settings that differ, such as ``{"selection": {"min_score": 0.7}}``.
    progress
        True for a progress bar, or a function that is called with every event.

    Raises
    ------
    AmilError
        If no image can be used. One that cannot be used among others is listed in ``failures``.
    """
    recipe = as_model(model).recipe(settings)
    finished, samples = Finished(), samples_of(images)
    if samples is None:
        sources = finished.run(pipeline.opening_images(paths_of(images)))
        return _detected(sources, recipe, finished, progress)
    kept = KeptImages(None)
    try:
        source = pipeline.array_source(samples, kept.path, recipe)
        listed = [pipeline.ImageSource(path, page, name) for name, (path, page) in source.files.items()]
        found = _detected(listed, recipe, finished, progress)
    except BaseException:
        kept.remove()
        raise
    weakref.finalize(found, kept.remove)
    return found


def _detected(
    sources: Sequence[Any], recipe: pipeline.Recipe, finished: Finished, progress: Show
) -> Detections:
    """Return the cells of the sources."""
    found = finished.run(pipeline.detect_images(sources, recipe), progress)
    if not found:
        raise AmilError(f"No image could be used: {finished.failed[0].reason}")
    finished.warn()
    return Detections(
        pipeline.cell_table(found),
        [outline for _, cells in found.values() for outline in cells.outlines],
        {name: shape for name, (shape, _) in found.items()},
        finished.failures(),
        {source.name: (source.path, source.page) for source in sources},
    )
