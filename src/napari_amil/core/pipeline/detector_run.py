"""The fine-tuning of a detector as a run folder, and the annotated folder that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tifffile

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.files import replacing
from napari_amil.core.base.outputs import environment, make_folder, write_json, write_text
from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.model.bundle import save_bundle
from napari_amil.core.pipeline.annotated import PATIENTS, Annotated, open_annotated, validation_images
from napari_amil.core.pipeline.running import in_run_folder
from napari_amil.core.pipeline.train_detector import FineTuned, fine_tune_detector

_FORBIDDEN = set('/\\:*?"<>|#')


@dataclass(frozen=True, eq=False)
class Corrected:
    """An image whose cells somebody has put right.

    Parameters
    ----------
    name, patient
        What the image is called, and whose it is.
    read
        Returns the pixels.
    cells
        Every cell of the image.
    """

    name: str
    patient: str
    read: Callable[[], Image]
    cells: Cells


def detector_run(
    opening: Generator[Event, None, Annotated], recipe: Recipe, settings: DetectorTrainingSettings, out: Path
) -> Generator[Event, None, FineTuned]:
    """Open annotated images, fine-tune the detector on them, and write its bundle into the run folder.

    Besides what `fine_tune_detector` writes the folder gets ``run.yaml``, ``events.jsonl``,
    ``bundle.safetensors`` and ``environment.json``. While a file ``pause`` is in it the work waits.

    Raises
    ------
    AmilError
        If no image can be used, or another process is working in the folder.
    """

    def work() -> Generator[Event, None, FineTuned]:
        write_text(recipe.bundle.settings.to_yaml(), out / "run.yaml")
        write_json(environment(), out / "environment.json")
        annotated = yield from opening
        tuned = yield from fine_tune_detector(annotated, recipe, settings, out)
        save_bundle(tuned.bundle, out / "bundle.safetensors")
        return tuned

    return (yield from in_run_folder(work(), make_folder(out)))


def annotated_table(place: Path, share: float, seed: int = 0) -> Generator[Event, None, pd.DataFrame]:
    """Return what a detector would learn from in ``place``: `Annotated.table`, a row per image.

    Raises
    ------
    AmilError
        If no image carries a usable annotation.
    """
    annotated = yield from open_annotated([place])
    return annotated.table(validation_images(annotated, share, seed))


def writing_annotated(images: Sequence[Corrected], out: Path) -> Generator[Event, None, Path]:
    """Write images (TIFF), their cells (GeoJSON beside them) and ``patients.csv`` into a new folder.

    Raises
    ------
    CohortError
        If there is no image, or the folder holds something.
    AmilError
        If it cannot be written.
    """
    if not images:
        raise CohortError("There is no image to learn from; tick one in the list.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(f"'{out}' exists and is not an empty folder; name another one.")
    rows: list[tuple[str, str]] = []
    for number, image in enumerate(images):
        yield Step("write", number, len(images), image.name)
        stem = _stem(image.name, {Path(name).stem for name, _ in rows})
        with replacing(out / f"{stem}.tif") as partial:
            tifffile.imwrite(partial, image.read(), photometric="rgb", compression=None)
        write_geojson(image.cells, None, out / f"{stem}.geojson")
        rows.append((f"{stem}.tif", image.patient.strip() or stem))
    write_table(pd.DataFrame(rows, columns=["image", "patient"]), out / PATIENTS)
    return out


def _stem(name: str, taken: set[str]) -> str:
    """Return a name for the files of an image that any system takes and no other image has."""
    plain = "".join("-" if letter in _FORBIDDEN else letter for letter in name)
    stem = Path(plain).stem.strip(". ") or "image"
    return next(
        candidate
        for candidate in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3)))
        if candidate not in taken
    )
