"""Images as a user gives them: arrays, lists or dictionaries of arrays, files, folders, cohorts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_amil.api.models import Place
from napari_amil.core.base.errors import AmilError

Array = NDArray[Any]
Images = Array | Place | Sequence[Array] | Sequence[Place] | Mapping[str, Array | Sequence[Array]]
"""An array ``(height, width[, 3])``, a path, a list of either, or ``sample -> array or list of arrays``."""
Samples = dict[str, list[Array]]


def samples_of(images: Images) -> Samples | None:
    """Return arrays by sample, None where the images are paths.

    An array alone is the sample ``image``; of a list the first is ``image 1``.

    Raises
    ------
    AmilError
        If an image is neither an array nor a path, or arrays and paths are mixed.
    """
    if isinstance(images, np.ndarray):
        return {"image": [images]}
    if isinstance(images, Mapping):
        return {str(name): _listed(str(name), given) for name, given in images.items()}
    if isinstance(images, str | os.PathLike):
        return None
    given = list(images)
    arrays = [one for one in given if isinstance(one, np.ndarray)]
    if arrays and len(arrays) == len(given):
        return {f"image {number}": [array] for number, array in enumerate(arrays, start=1)}
    wrong = [one for one in given if not isinstance(one, str | os.PathLike)]
    if wrong or not given:
        kind = type(wrong[0]).__name__ if wrong else "an empty list"
        raise AmilError(f"Images are NumPy arrays or paths, not {kind}; give one kind of them.")
    return None


def paths_of(images: Images) -> list[Path]:
    """Return the paths of images that `samples_of` found to be no arrays."""
    if isinstance(images, str | os.PathLike):
        return [Path(images)]
    return [Path(one) for one in images if isinstance(one, str | os.PathLike)]


def _listed(name: str, given: Any) -> list[Array]:  # noqa: ANN401
    arrays = [given] if isinstance(given, np.ndarray) else list(given)
    if not arrays or not all(isinstance(array, np.ndarray) for array in arrays):
        raise AmilError(f"The sample '{name}' holds no arrays; give an array or a list of arrays for it.")
    return arrays


class KeptImages:
    """Folder for images of arrays: below the results where these are written, else temporary."""

    def __init__(self, out: Path | None) -> None:
        self.is_temporary = out is None
        self.path = Path(tempfile.mkdtemp(prefix="napari-amil-")) if out is None else out / "images"

    def remove(self) -> None:
        """Remove a temporary folder."""
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
