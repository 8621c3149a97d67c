"""Copy loose images into a folder cohort; the originals stay."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Events, Step

TABLE = "images.csv"
"""Name of the table that says where each image of the cohort came from."""
_FORBIDDEN = set('/\\:*?"<>|')


@dataclass(frozen=True)
class Placed:
    """One image and where it belongs; ``sample`` may be empty."""

    path: Path
    label: str
    patient: str
    sample: str = ""


def arranging(images: Sequence[Placed], out: Path) -> Events:
    """Copy images to ``out/<class>/<patient>/[<sample>/]<image>``, a step each, and return ``out``.

    ``images.csv`` beside the classes lists ``image, label, patient, sample, original``. The folder appears
    when all is written. Images of one name in one place get a number.

    Raises
    ------
    CohortError
        If there is nothing to place, a name cannot be a folder, or ``out`` cannot be written.
    """
    _check(images, out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            built = Path(scratch, "cohort")
            rows = []
            for done, image in enumerate(images):
                yield Step("arrange", done, len(images), image.path.name)
                target = _free(built / image.label / image.patient / image.sample, image.path.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(image.path, target)
                place = target.relative_to(built).as_posix()
                rows.append((place, image.label, image.patient, image.sample, str(image.path.absolute())))
            columns = ["image", "label", "patient", "sample", "original"]
            pd.DataFrame(rows, columns=columns).to_csv(built / TABLE, index=False)
            if out.is_dir():
                out.rmdir()
            built.rename(out)
    except OSError as error:
        named = error.filename or out
        raise CohortError(
            f"The cohort '{out}' could not be written: '{named}': {error.strerror}; check the disk, or name "
            "another folder."
        ) from error
    yield Step("arrange", len(images), len(images))
    return out


def _check(images: Sequence[Placed], out: Path) -> None:
    """Refuse images that cannot become a cohort."""
    if not images:
        raise CohortError("There is no image to place; drop some first.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(f"'{out}' exists and is not an empty folder; name another one.")
    for image in images:
        for what, name in (("class", image.label), ("patient", image.patient)):
            if not name.strip():
                raise CohortError(f"'{image.path.name}' has no {what}; give it one.")
        for name in (image.label, image.patient, image.sample):
            if _FORBIDDEN & set(name) or name.startswith("."):
                raise CohortError(f"'{name}' cannot be a folder's name; use letters, digits and hyphens.")
    classes = {image.label for image in images}
    if len(classes) < 2:
        message = f"All images are of the class '{classes.pop()}'"
        raise CohortError(f"{message}; a cohort needs controls and at least one other class.")


def _free(folder: Path, name: str) -> Path:
    """Return a path in ``folder`` that is not taken."""
    path, number = folder / name, 2
    while path.exists():
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
        number += 1
    return path
