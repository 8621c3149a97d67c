"""Read a folder of images or a table of cells into bags of patients."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, PLACE_COLUMNS
from napari_amil.core.base.errors import CohortError, ImageError
from napari_amil.core.base.tables import read_table
from napari_amil.core.base.types import Bag, Cells, Cohort
from napari_amil.core.cohort.clinical import acquisition_columns, add_clinical
from napari_amil.core.images.read import find_images, natural_key

REQUIRED = ("bag", "patient", "label", *PLACE_COLUMNS)
"""Columns that a cell list must have."""
UNLABELLED = frozenset({"", "-1"})
"""Labels that stand for an unknown class."""
_TOO_LARGE = 2**53  # for a whole number that a table keeps exactly
_LAYOUT = "<root>/<class>/<patient>/[<sample>/]<image>"


def read_cohort(path: Path, control: str = "control", *, to_score: bool = False) -> Cohort:
    """Return the bags of a folder cohort or of a cell-list table.

    A folder ``<root>/<class>/<patient>/[<sample>/]<image>`` gives bags without cells, called
    ``class/patient`` or ``class/patient/sample``; the patient is called ``class/patient``, since
    patients of two classes may share a number. A CSV with one row per cell (`REQUIRED`, and where known
    ``fold``, ``cell_id``, ``cell_type``, and columns such as ``site`` or ``stain``) gives bags with cells, in
    the order of the file; a cell that is listed twice counts twice. ``clinical.csv`` beside either is joined
    by ``bag`` or ``patient``.

    Parameters
    ----------
    path
        The folder or the CSV file.
    control
        Name of the control class; it comes first in ``classes``.
    to_score
        Nothing is learned from these bags, so that there need be no control among them.

    Raises
    ------
    CohortError
        If there is no usable bag, or no control; the sentence names the file, the row and the remedy.
    """
    if path.is_dir():
        root, bags = path, _folder_bags(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        root, bags = path.parent, _listed_bags(path)
    else:
        raise CohortError(
            f"'{path}' is neither a folder nor a .csv file; give a folder {_LAYOUT} or a cell list."
        )
    clinical = root / "clinical.csv"
    if clinical.is_file() and clinical != path:
        bags = add_clinical(bags, clinical)
    labels = {bag.label for bag in bags} - {None, control}
    present = [control] if to_score or any(bag.label == control for bag in bags) else []
    classes = (*present, *sorted(map(str, labels), key=natural_key))
    return Cohort(str(root), tuple(bags), classes, control)


def _folder_bags(root: Path) -> list[Bag]:
    """Return one bag per patient or sample folder; a patient folder without an image is an empty bag."""
    try:
        names = [source.name for source in find_images([root])]
    except ImageError as error:
        raise CohortError(f"The cohort folder '{root}' holds no image; lay it out as {_LAYOUT}.") from error
    images: dict[str, list[str]] = {}
    for name in names:
        folders = PurePosixPath(name).parts[:-1]
        if len(folders) not in {2, 3}:
            raise CohortError(f"'{root / name}' lies {len(folders)} folder(s) deep; move it to {_LAYOUT}.")
        images.setdefault("/".join(folders), []).append(name)
    for empty in _empty_patients(root, images):
        images[empty] = []
    return [_folder_bag(bag, images[bag]) for bag in sorted(images, key=natural_key)]


def _folder_bag(bag: str, images: list[str]) -> Bag:
    label, patient = bag.split("/")[:2]
    return Bag(bag, f"{label}/{patient}", tuple(images), label=label)


def _empty_patients(root: Path, images: Iterable[str]) -> list[str]:
    """Return ``class/patient`` for patient folders in which no image was found."""
    labels = {bag.split("/")[0] for bag in images}
    found = {"/".join(bag.split("/")[:2]) for bag in images}
    folders = [folder for label in labels for folder in (root / label).iterdir() if folder.is_dir()]
    names = [f"{folder.parent.name}/{folder.name}" for folder in folders if not folder.name.startswith(".")]
    return [name for name in names if name not in found]


def _listed_bags(path: Path) -> list[Bag]:
    """Return the bags of a cell list."""
    table = _checked_list(path)
    boxes = table[BOX_COLUMNS].to_numpy(np.float32)
    ids = table["cell_id"].to_numpy(np.int64, na_value=-1) if "cell_id" in table else None
    types = table["cell_type"].to_numpy(np.str_) if "cell_type" in table else None
    repeated = (
        table.duplicated(["bag", "image", "cell_id", *BOX_COLUMNS]).to_numpy() if ids is not None else None
    )
    rows_of: dict[str, dict[str, NDArray[np.intp]]] = {}
    for (bag, image), rows in table.groupby(["bag", "image"], sort=False).indices.items():
        rows_of.setdefault(str(bag), {})[str(image)] = rows
    acquisition = acquisition_columns(table)
    bags = []
    for bag, images in rows_of.items():
        first = table.iloc[next(iter(images.values()))[0]]
        fold = first.get("fold", pd.NA)
        bags.append(
            Bag(
                bag=bag,
                patient=str(first["patient"]),
                images=tuple(images),
                cells={image: Cells(boxes[i], cell_id=_ids(ids, repeated, i)) for image, i in images.items()},
                label=None if first["label"] in UNLABELLED else str(first["label"]),
                fold=None if pd.isna(fold) else int(fold),
                cell_type={} if types is None else {image: types[i] for image, i in images.items()},
                acquisition={key: str(first[name]) for name, key in acquisition.items() if first[name]},
            )
        )
    return bags


def _checked_list(path: Path) -> pd.DataFrame:
    """Return a cell list in which every row is usable and every bag has one patient, label and fold."""
    table = read_table(path)
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise CohortError(
            f"The cell list '{path}' lacks {', '.join(missing)}; its header needs {', '.join(REQUIRED)}."
        )
    for name in ("bag", "patient", "image"):
        _refuse_rows(path, table[name] == "", f"has no {name}; fill it in")
    table["image"] = table["image"].str.replace("\\", "/")
    table[BOX_COLUMNS] = _numbers(path, table, BOX_COLUMNS)
    wrong = (table.y1 <= table.y0) | (table.x1 <= table.x0)
    _refuse_rows(path, wrong, "has a box without area; it needs y0 < y1 and x0 < x1, in pixels")
    by_bag = table.groupby("bag", sort=False)
    for name in ("patient", "label", *({"fold"} & set(table)), *acquisition_columns(table)):
        differs = table[name] != by_bag[name].transform("first")
        _refuse_rows(path, differs, f"gives its bag another {name} than the rows above; a bag has only one")
    for name in ("fold", "cell_id"):
        if name in table:
            table[name] = _whole_numbers(path, table, name)
    if "cell_id" in table:
        known = table["cell_id"].notna()
        same_box = table.duplicated(["bag", "image", "cell_id", *BOX_COLUMNS])
        clash = table.duplicated(["bag", "image", "cell_id"]) & known & ~same_box
        _refuse_rows(path, clash, "has the cell_id of another box of this image; give each cell its own")
    return table


def _ids(
    ids: NDArray[np.int64] | None, repeated: NDArray[np.bool_] | None, rows: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Return the ids of one image of one bag; a row without one, or listed again, gets the next free id."""
    if ids is None or repeated is None:
        return np.arange(1, len(rows) + 1, dtype=np.int64)
    own = ids[rows]
    fresh = repeated[rows] | (own < 0)
    own[fresh] = max(own.max(), 0) + 1 + np.arange(fresh.sum())
    return own


def _numbers(path: Path, table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return columns as finite numbers."""
    numbers = table[names].apply(pd.to_numeric, errors="coerce")
    for name in names:
        bad = ~np.isfinite(numbers[name].astype(float))
        value = table.loc[bad, name].iloc[0] if bad.any() else ""
        _refuse_rows(path, bad, f"has {name} = '{value}', which is no number; give pixels")
    return numbers


def _whole_numbers(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of whole numbers from 0, missing where it is empty."""
    numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
    bad = (table[name] != "") & ~((numbers >= 0) & (numbers % 1 == 0) & (numbers < _TOO_LARGE))
    value = table.loc[bad, name].iloc[0] if bad.any() else ""
    _refuse_rows(path, bad, f"has {name} = '{value}'; give a whole number from 0, or leave it empty")
    return numbers.astype("Int64")


def _refuse_rows(path: Path, bad: pd.Series, what: str) -> None:
    """Refuse a table of which a row is wrong, naming the first such row as a spreadsheet numbers it."""
    if bad.any():
        raise CohortError(f"Row {int(bad.idxmax()) + 2} of '{path}' {what}.")
