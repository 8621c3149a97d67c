"""Cell images: one file is one cell, one folder one sample, and a table describes the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image

from napari_amil.core.base.errors import CohortError, ImageError
from napari_amil.core.base.tables import clean_text, header_of, read_table, refuse_twin_columns
from napari_amil.core.base.types import Bag, Cells
from napari_amil.core.cohort.class_labels import label_key
from napari_amil.core.cohort.clinical import KnownValues, known_values
from napari_amil.core.cohort.layouts.folder import skipped_note
from napari_amil.core.cohort.layouts.layout import Listing
from napari_amil.core.cohort.layouts.listed import refuse_rows
from napari_amil.core.cohort.problems import enumerate_names
from napari_amil.core.images.read import image_names, locate, natural_key


@dataclass(frozen=True)
class CellImagesLayout:
    """One bag per folder, called like it; every image is one cell whose box is the whole image.

    The table has a row for each folder: ``ID``, ``LABEL``, and columns of clinical values such as ``AGE``. A
    folder without a row is a bag without a label, a row without a folder an empty bag.
    """

    summary: str = "a folder of cell images (<root>/<ID>/<one cell>.jpg and a CSV ID, LABEL, ...)"
    needs: tuple[str, ...] = ("a folder for each sample", "a CSV beside them with the columns ID, LABEL")
    labels_from: str = "the column 'LABEL'"
    unsupported: str = ""

    def recognises(self, path: Path) -> bool:
        """Return whether a folder holds such a table, or a file is one."""
        if path.is_dir():
            return bool(_tables_in(path))
        return path.is_file() and _is_sample_table(path)

    def read(self, path: Path) -> Listing:
        """Return the bags of a folder, or of the folder that a table lies in."""
        tables = _tables_in(path) if path.is_dir() else [path]
        if len(tables) != 1:
            raise CohortError(
                f"'{path}' holds {len(tables)} tables with ID and LABEL; keep one, or name the one to use."
            )
        (table,) = tables
        folders, rows = _images_by_folder(table.parent), _rows(table)
        bags = [
            _bag(table.parent, name, folders.get(name, []), rows.get(name))
            for name in sorted({*folders, *rows}, key=natural_key)
        ]
        without = [name for name in folders if name not in rows]
        notes = [f"without a row in '{table.name}': {enumerate_names(without)}"] if without else []
        return Listing(table.parent, bags, (*notes, *skipped_note(table.parent, table)))


def control_of(bags: Sequence[Bag], control: str) -> str:
    """Return the control class: ``control`` if a bag has it, else ``reactive`` or, of 0 and 1, ``0``."""
    labels = {label_key(bag.label or "") for bag in bags} - {""}
    if label_key(control) in labels:
        return control
    return "reactive" if "reactive" in labels else "0" if labels == {"0", "1"} else control


def _tables_in(folder: Path) -> list[Path]:
    """Return the tables of samples in a folder."""
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_sample_table(path))


def _is_sample_table(path: Path) -> bool:
    """Return whether a file is a CSV with a row per sample."""
    if path.suffix.lower() != ".csv":
        return False
    columns = {name.upper() for name in header_of(path)}
    return {"ID", "LABEL"} <= columns and "IMAGE" not in columns


def _images_by_folder(root: Path) -> dict[str, list[str]]:
    """Return the images of each sample, which is called like the folder that they lie in."""
    try:
        names = [name for name in image_names(root) if "/" in name]
    except ImageError as error:
        raise CohortError(
            f"'{root}' holds no cell images; lay them out as <root>/<ID>/<cell>.jpg."
        ) from error
    places: dict[str, str] = {}
    images: dict[str, list[str]] = {}
    for name in names:
        place = PurePosixPath(name).parent
        sample = clean_text(place.name)
        if places.setdefault(sample, str(place)) != str(place):
            raise CohortError(
                f"The folders '{places[sample]}' and '{place}' of '{root}' are both sample '{sample}'; "
                "rename one."
            )
        images.setdefault(sample, []).append(name)
    return images


def _rows(path: Path) -> dict[str, tuple[str, KnownValues]]:
    """Return ``ID -> (label, known values)``."""
    table = read_table(path)
    refuse_twin_columns(path, table)
    table = table.rename(columns={name: name.upper() for name in table if name.upper() in {"ID", "LABEL"}})
    refuse_rows(path, table["ID"] == "", "has no ID; fill it in")
    refuse_rows(path, table["ID"].duplicated(), "repeats an ID; keep one row of it")
    values = known_values(table.drop(columns=["ID", "LABEL", *({""} & set(table))]))
    return dict(zip(table["ID"], zip(table["LABEL"], values, strict=True), strict=True))


def _bag(root: Path, name: str, images: list[str], row: tuple[str, KnownValues] | None) -> Bag:
    """Return one sample."""
    label, values = row or ("", KnownValues({}, {}))
    found = ((image, _whole_image(locate(root, image)[0], n)) for n, image in enumerate(images, 1))
    cells = {image: cell for image, cell in found if cell is not None}
    return Bag(
        name,
        name,
        tuple(images),
        cells,
        label=label,
        clinical=values.clinical,
        acquisition=values.acquisition,
    )


def _whole_image(path: Path, cell_id: int) -> Cells | None:
    """Return the cell that fills an image, None where its size cannot be read.

    Its id is its number within the sample, so that no two cells of a sample share one.
    """
    try:
        with PIL.Image.open(path) as file:
            box = (0, 0, file.height, file.width)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    return Cells(np.array([box], dtype=np.float32), cell_id=np.array([cell_id]))
