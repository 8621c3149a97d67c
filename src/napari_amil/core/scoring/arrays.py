"""Images in memory as the source of a scoring: written without loss into a folder, read like any file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import json_sha256, replacing
from napari_amil.core.base.outputs import make_folder
from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.exchange.annotation import Annotation
from napari_amil.core.exchange.labels import cells_of_labels
from napari_amil.core.images.fields import as_field
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.given_cells import with_outlines
from napari_amil.core.instances.sources import Source

Samples = Mapping[str, Sequence[NDArray[Any]]]
"""``sample -> images``, each ``(height, width)`` or ``(height, width, n_channels)``."""


def array_source(
    samples: Samples, folder: Path, recipe: Recipe, labels: Mapping[str, NDArray[Any]] | None = None
) -> Source:
    """Return the bags of images in memory; ``folder`` gets each image as an uncompressed TIFF.

    The only image of a sample has its name; of several, image 2 of sample ``a`` is called ``a 2``.

    Parameters
    ----------
    samples
        Images by sample, each sample a bag and a patient of its own.
    folder
        Folder of the images.
    recipe
        Whose control class is that of the source; finds which given cells overlap.
    labels
        ``image name -> (height, width)`` label image of its cells, for all images or none.

    Raises
    ------
    ImageError
        If the numbers of an array have no clear way to RGB.
    AmilError
        If there is no image, or a label image does not fit one.
    """
    files: dict[str, tuple[Path, int]] = {}
    bags = []
    for sample, images in samples.items():
        own = {image_name(sample, number, len(images)): image for number, image in enumerate(images)}
        cells = {}
        for name, image in own.items():
            field = as_field(image)
            height, width = field.shape
            path = make_folder(folder) / f"{json_sha256(name)[:16]}.tif"
            with replacing(path) as partial:
                tifffile.imwrite(partial, field.window(slice(0, height), slice(0, width)), photometric="rgb")
            files[name] = path, 0
            if labels is not None:
                cells[name] = _given_cells(name, image, labels, recipe)
        bags.append(Bag(sample, sample, tuple(own), cells))
    if not files:
        raise AmilError("There is no image; give an array (height, width, 3), a list of them, or paths.")
    control = recipe.settings.control
    return Source(Cohort(str(folder), tuple(bags), (control,), control), files)


def image_name(sample: str, number: int, n_images: int) -> str:
    """Return the name of an image of a sample, counted from 0."""
    return sample if n_images == 1 else f"{sample} {number + 1}"


def _given_cells(name: str, image: NDArray[Any], labels: Mapping[str, NDArray[Any]], recipe: Recipe) -> Cells:
    """Return the cells of the label image of an image."""
    if name not in labels:
        raise AmilError(
            f"The image '{name}' has no label image, but others have; the names given are "
            f"{', '.join(map(repr, list(labels)[:5]))}."
        )
    given = np.asarray(labels[name])
    if given.shape != image.shape[:2] or given.dtype.kind not in "iu":
        raise AmilError(
            f"The label image of '{name}' has shape {given.shape} and type {given.dtype}, but must be whole "
            f"numbers of shape {image.shape[:2]}; 0 is background."
        )
    height, width = given.shape
    placed = Annotation(cells_of_labels(given)).within(name, (height, width))
    if not len(placed.cells):
        raise AmilError(f"The label image of '{name}' holds no cell; number the cells from 1.")
    return with_outlines(as_field(image), placed.cells, recipe)
