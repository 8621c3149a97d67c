"""Annotated images for the training of a detector: read, split by patient, and written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import tifffile
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Step, Understood, Warned
from napari_amil.core.base.files import replacing, replacing_together
from napari_amil.core.base.names import file_name
from napari_amil.core.base.tables import read_table, refuse_twin_columns
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.exchange.annotation import Annotation
from napari_amil.core.exchange.annotation_files import read_annotations
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.exchange.labels import is_label_image
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.images.read import ImageSource, find_images

PATIENTS = "patients.csv"
"""Table beside the images that says whose they are: ``image, patient`` and, if wanted, ``fold``."""
_COLLECTIONS = (".json", ".csv", ".parquet")
_STRUCTURE = {"images", "JPEGImages"}


@dataclass(frozen=True, eq=False)
class Corrected:
    """An image with corrected cells.

    Parameters
    ----------
    name, patient
        Name of the image, and its patient.
    read
        Returns the pixels.
    cells
        Every cell of the image.
    """

    name: str
    patient: str
    read: Callable[[], Image]
    cells: Cells


@dataclass(frozen=True, eq=False)
class Annotated:
    """Images with their annotations and patients.

    Parameters
    ----------
    images
        By name.
    annotations, patients
        Of every image.
    white
        Kinds of cells that are white in the records (column ``kind`` of a table); no cell is white where
        there is none.
    """

    images: dict[str, ImageSource]
    annotations: dict[str, Annotation]
    patients: dict[str, tuple[str, ...]] = field(default_factory=dict)
    white: frozenset[str] = frozenset()

    def summary(self) -> str:
        """Return the numbers of images, patients and cells in words."""
        n_cells = sum(len(annotation.cells) for annotation in self.annotations.values())
        n_patients = len({name for own in self.patients.values() for name in own})
        counted = ((len(self.images), "annotated image"), (n_patients, "patient"), (n_cells, "cell"))
        images, patients, cells = (f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counted)
        return f"{images} of {patients}, {cells}"

    def where(self, names: Collection[str]) -> Annotated:
        """Return the part with these images, in the order that there is."""
        kept = [name for name in self.images if name in names]
        return Annotated(
            {name: self.images[name] for name in kept},
            {name: self.annotations[name] for name in kept},
            {name: self.patients[name] for name in kept},
            self.white,
        )

    def without_fold(self, fold: int | None) -> Annotated:
        """Return the images outside a fold.

        Raises
        ------
        CohortError
            If no image, or every image, is in that fold.
        """
        if fold is None:
            return self
        outside = [name for name, annotation in self.annotations.items() if annotation.fold != fold]
        if not outside or len(outside) == len(self.annotations):
            raise CohortError(
                f"Fold {fold} cannot be held out: {len(self.annotations) - len(outside)} of "
                f"{len(self.annotations)} images are in it; name another in the column 'fold'."
            )
        return self.where(outside)

    def marked(self, *, partial: bool, white: Collection[str] = ()) -> Annotated:
        """Return the images as their files say; if ``partial``, pixels without annotation are unknown.

        Cells whose record names one of the kinds ``white`` are white cells.
        """
        if white:
            return replace(self, white=frozenset(white)).marked(partial=partial)
        if not partial:
            return self
        marked = {name: replace(own, complete=False) for name, own in self.annotations.items()}
        return replace(self, annotations=marked)

    def table(self, validation: Collection[str]) -> pd.DataFrame:
        """Return one row per image: patient, part, and number of annotated cells."""
        rows = [
            {
                "image": name,
                "patient": " + ".join(self.patients[name]),
                "part": "validation" if name in validation else "training",
                "n_cells": len(annotation.cells),
                "complete": annotation.complete,
            }
            for name, annotation in self.annotations.items()
        ]
        return pd.DataFrame(rows)


def open_annotated(
    inputs: Sequence[Path], place: Path | None = None, classes: Collection[str] = ()
) -> Generator[Event, None, Annotated]:
    """Return the annotated images among files and folders.

    Parameters
    ----------
    inputs
        Images and folders; or one COCO file or table, which lies above its images.
    place
        Place of the annotations; beside the images if not given.
    classes
        Names of the objects that are cells, in formats that name them.

    Raises
    ------
    AmilError
        If no image carries a usable annotation.
    """
    if place is None:
        place = _only_place(inputs)
    folders = [path.parent if path == place and path.is_file() else path for path in inputs]
    found = [source for source in find_images(folders) if not is_label_image(source.name)]
    images = {source.name: source for source in found}
    if not images:
        raise CohortError(f"'{folders[0]}' holds label images alone; put the images themselves beside them.")
    annotations = yield from read_annotations(place, images, classes)
    if not annotations:
        raise CohortError(
            f"No image of '{place}' carries an annotation that can be used; the documentation lists where "
            "they are looked for. With --self-annotate the program makes its own."
        )
    without = [name for name in images if name not in annotations]
    if without and place.is_dir():
        yield Warned(
            f"{len(without)} of {len(images)} images carry no annotation and are left out, "
            f"'{without[0]}' first."
        )
    annotations = {name: annotations[name] for name in images if name in annotations}
    whole = Annotated({name: images[name] for name in annotations}, annotations)
    known = _with_patients(whole, (place if place.is_dir() else place.parent) / PATIENTS)
    yield Understood(known.summary())
    return known


def _only_place(inputs: Sequence[Path]) -> Path:
    """Return the default place of the annotations: the only input if it is a folder, COCO file or table."""
    if len(inputs) == 1 and (inputs[0].is_dir() or inputs[0].suffix.lower() in _COLLECTIONS):
        return inputs[0]
    raise CohortError(
        f"'{inputs[0]}' does not say where the annotations are; give one folder, COCO file or "
        "table, or name them with --cells."
    )


def _with_patients(annotated: Annotated, path: Path) -> Annotated:
    """Return the images with their patients: of ``patients.csv``, else of the table, else by folder."""
    listed = _listed_patients(path) if path.is_file() else {}
    annotations, patients = {}, {}
    for name, annotation in annotated.annotations.items():
        patient, fold = listed.get(name, listed.get(PurePosixPath(name).name, (None, None)))
        patients[name] = (patient,) if patient else annotation.patients or (patient_of(name),)
        annotations[name] = replace(annotation, fold=annotation.fold if fold is None else fold)
    return replace(annotated, annotations=annotations, patients=patients)


def _listed_patients(path: Path) -> dict[str, tuple[str, int | None]]:
    table = read_table(path)
    refuse_twin_columns(path, table)
    if not {"image", "patient"} <= set(table):
        raise CohortError(f"'{path}' needs the columns image and patient; add them.")
    folds = table["fold"] if "fold" in table else pd.Series("", table.index)
    if not folds.map(lambda text: text.isdigit() or not text).all():
        raise CohortError(f"The column 'fold' of '{path}' holds something else than whole numbers; mend it.")
    rows = zip(table["image"], table["patient"], folds, strict=True)
    return {image: (patient, int(fold) if fold else None) for image, patient, fold in rows}


def patient_of(name: str) -> str:
    """Return whose an image is, by its folder: ``<class>/<patient>/...`` or ``<patient>/<image>``.

    A folder called ``images`` does not count. An image in no folder is a patient of its own.
    """
    path = PurePosixPath(name.rsplit("#", 1)[0])
    folders = [part for part in path.parts[:-1] if part not in _STRUCTURE]
    return "/".join(folders[:2]) if folders else str(path)


def validation_images(annotated: Annotated, share: float, seed: int) -> list[str]:
    """Return the images of whole patients, drawn at random, that make up about ``share`` of all.

    Patients who share an image stay together. There is at least one patient on either side; of a single
    patient nothing is drawn.
    """
    groups = _groups(list(annotated.patients.values()))
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    if share <= 0 or len(order) < 2:
        return []
    reached = np.cumsum(np.bincount(groups)[order])[:-1]
    n_groups = 1 + int(np.abs(reached - share * len(groups)).argmin())
    drawn = set(order[:n_groups].tolist())
    return [name for name, group in zip(annotated.patients, groups.tolist(), strict=True) if group in drawn]


def _groups(patients: Sequence[tuple[str, ...]]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return a number per image, the same for images that are tied by a patient."""
    names = sorted({name for own in patients for name in own})
    pairs = [(row, len(patients) + names.index(name)) for row, own in enumerate(patients) for name in own]
    rows, columns = np.array(pairs).T
    size = len(patients) + len(names)
    ties = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    _, groups = connected_components(ties, directed=False)
    _, dense = np.unique(groups[: len(patients)], return_inverse=True)
    return np.asarray(dense, dtype=np.int32)


def annotated_table(place: Path, share: float, seed: int = 0) -> Generator[Event, None, pd.DataFrame]:
    """Return the annotated images in ``place``: `Annotated.table`, a row per image.

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
    with replacing_together(out) as stage:
        for number, image in enumerate(images):
            yield Step("write", number, len(images), image.name)
            stem = _stem(image.name, {Path(name).stem for name, _ in rows})
            with replacing(stage / f"{stem}.tif") as partial:
                tifffile.imwrite(partial, image.read(), photometric="rgb", compression=None)
            write_geojson(image.cells, None, stage / f"{stem}.geojson")
            rows.append((f"{stem}.tif", image.patient.strip() or stem))
        write_table(pd.DataFrame(rows, columns=["image", "patient"]), stage / PATIENTS)
    return out


def _stem(name: str, taken: set[str]) -> str:
    """Return a name for the files of an image that any system takes and no other image has."""
    stem = Path(file_name(name.replace("#", "_"))).stem.strip(". ") or "image"
    return next(
        candidate
        for candidate in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3)))
        if candidate not in taken
    )
