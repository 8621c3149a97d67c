"""The registered cohort layouts, and reading a cohort in any of them."""

from __future__ import annotations

from pathlib import Path

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.files import regular_file
from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.cohort.class_labels import unify_labels
from napari_amil.core.cohort.clinical import add_clinical
from napari_amil.core.cohort.layouts.cell_images import CellImagesLayout, control_of
from napari_amil.core.cohort.layouts.cell_list import CellListLayout
from napari_amil.core.cohort.layouts.folder import FolderLayout
from napari_amil.core.cohort.layouts.image_table import ImageTableLayout
from napari_amil.core.cohort.layouts.layout import Layout
from napari_amil.core.images.read import natural_key

LAYOUTS: dict[str, Layout] = {
    "folder": FolderLayout(),
    "cell-list": CellListLayout(),
    "image-table": ImageTableLayout(),
    "cell-images": CellImagesLayout(),
}
"""Every layout by its name; of several that recognise a path the last is taken."""


def layout_of(path: Path) -> str | None:
    """Return the name of the layout of a file or folder, None where no layout recognises it."""
    return next((name for name in reversed(LAYOUTS) if LAYOUTS[name].recognises(path)), None)


def read_cohort(path: Path, control: str = "control", *, to_score: bool = False) -> Cohort:
    """Return the bags of a cohort in any of the registered layouts (`LAYOUTS`).

    ``clinical.csv`` beside them is joined by ``bag`` or ``patient``. Spellings of one class become one, and
    words such as ``NA`` no class (`unify_labels`).

    Parameters
    ----------
    path
        The folder or file.
    control
        Name of the control class; it comes first in ``classes``.
    to_score
        Nothing is learned from these bags, so that there need be no control among them.

    Raises
    ------
    CohortError
        If there is no usable bag, or no control; the sentence names the file, the row and the remedy.
    """
    layout, root, bags, notes = _read(path)
    if layout == "cell-images":
        control = control_of(bags, control)
    bags, spellings = unify_labels(bags, control)
    labels = {bag.label for bag in bags} - {None, control}
    present = [control] if to_score or any(bag.label == control for bag in bags) else []
    classes = (*present, *sorted(map(str, labels), key=natural_key))
    return Cohort(str(root), tuple(bags), classes, control, layout, (*spellings, *notes))


def class_names(path: Path) -> list[str]:
    """Return the names of the classes of a cohort, in the order of the alphabet.

    Raises
    ------
    CohortError
        If the cohort cannot be read.
    """
    bags, _ = unify_labels(_read(path)[2], "")
    return sorted({bag.label for bag in bags if bag.label is not None})


def describe_cohort(cohort: Cohort) -> str:
    """Return the summary of a cohort, such as ``9 bags of 9 patients, labels from folders``."""
    n_patients = len({bag.patient for bag in cohort})
    without = sum(bag.label is None for bag in cohort)
    labels = "no labels"
    if cohort.layout and without < len(cohort):
        labels = f"labels from {LAYOUTS[cohort.layout].labels_from}"
        labels += f" ({without} without a label)" if without else ""
    bags = f"{_counted(len(cohort), 'bag')} of {_counted(n_patients, 'patient')}"
    if not cohort.layout:
        bags = f"{_counted(len(cohort), 'image')}, each a bag of its own"
    return "; ".join([f"{bags}, {labels}", *cohort.notes])


def unsupported_reason(cohort: Cohort) -> str:
    """Return the reason why a cohort can only be read and checked, a sentence; empty if it can be used."""
    layout = LAYOUTS.get(cohort.layout)
    if layout is None or not layout.unsupported:
        return ""
    return f"'{cohort.root}' holds {layout.summary}: {layout.unsupported}."


def _read(path: Path) -> tuple[str, Path, list[Bag], tuple[str, ...]]:
    """Return the layout of a cohort, its root, its bags with clinical values, and the skipped files."""
    if not path.is_dir():
        regular_file(path, CohortError)
    name = layout_of(path) or ("folder" if path.is_dir() else None)
    if name is None:
        known = "; ".join(layout.summary for layout in LAYOUTS.values())
        raise CohortError(f"'{path}' cannot be found or is no cohort; give {known}.")
    listing = LAYOUTS[name].read(path)
    bags, clinical = list(listing.bags), listing.root / "clinical.csv"
    if clinical.is_file() and clinical != path and bags:
        bags = add_clinical(bags, clinical)
    return name, listing.root, bags, listing.notes


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
