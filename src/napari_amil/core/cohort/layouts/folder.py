"""Folder cohort: ``<class>/<patient>/[<sample>/]<image>``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from napari_amil.core.base.errors import CohortError, ImageError
from napari_amil.core.base.tables import clean_text
from napari_amil.core.base.types import Bag
from napari_amil.core.cohort.layouts.layout import Listing
from napari_amil.core.cohort.problems import enumerate_names
from napari_amil.core.images.read import find_images, image_names, natural_key, skipped_files

PATTERN = "<root>/<class>/<patient>/[<sample>/]<image>"
_DEPTHS = {2, 3}
_LONGEST_LINK = 1024  # bytes


@dataclass(frozen=True)
class FolderLayout:
    """Bags without cells, one per patient or sample folder; the class is the first folder.

    A bag is called ``class/patient`` or ``class/patient/sample``, and its patient ``class/patient``, since
    patients of two classes may share a number.
    """

    summary: str = f"a folder {PATTERN}"
    needs: tuple[str, ...] = ("a folder for each class", "in it a folder for each patient")
    labels_from: str = "folders"
    unsupported: str = ""

    def recognises(self, path: Path) -> bool:
        """Return whether most images of a folder lie two or three folders deep."""
        if not path.is_dir():
            return False
        try:
            depths = [_depth(name) in _DEPTHS for name in image_names(path)]
        except ImageError:
            return False
        return sum(depths) > len(depths) / 2

    def read(self, path: Path) -> Listing:
        """Return one bag per patient or sample folder; a patient folder without an image is an empty bag.

        Images at another depth are passed over with a note, unless most lie there.
        """
        try:
            names = [source.name for source in find_images([path])]
        except ImageError as error:
            raise CohortError(
                f"The cohort folder '{path}' holds no image; lay it out as {PATTERN}."
            ) from error
        images: dict[str, list[str]] = {}
        for name in names:
            if _depth(name) in _DEPTHS:
                images.setdefault(clean_text(name.rpartition("/")[0]), []).append(name)
        stray = [name for name in names if _depth(name) not in _DEPTHS]
        if len(stray) >= len(names) / 2:
            raise CohortError(
                f"'{path / stray[0]}' lies {_depth(stray[0])} folder(s) deep; move it to {PATTERN}."
            )
        for empty in _empty_patients(path, names):
            images[empty] = []
        bags = [_bag(bag, images[bag]) for bag in sorted(images, key=natural_key)]
        notes = [f"images outside of patient folders skipped: {enumerate_names(stray)}"] if stray else []
        return Listing(path, bags, (*notes, *skipped_note(path)))


def skipped_note(folder: Path, *tables: Path) -> list[str]:
    """Return a note on the files below a folder that are no images and none of the tables read, if any."""
    used = {*(table.relative_to(folder).as_posix() for table in tables), "clinical.csv"}
    skipped = [name for name in skipped_files(folder) if name not in used]
    links = [name for name in skipped if _is_lost_link(folder / name)]
    skipped = [name for name in skipped if name not in links]
    notes = [f"links that lead nowhere: {enumerate_names(links)}"] if links else []
    kinds = sorted({PurePosixPath(name).suffix.lower().removeprefix(".") or "no ending" for name in skipped})
    files = "file" if len(skipped) == 1 else "files"
    return [*notes, f"{len(skipped)} {files} skipped: {', '.join(kinds)}"] if skipped else notes


def _is_lost_link(path: Path) -> bool:
    """Return whether a file is a broken link, or the text that a copy without links makes of one."""
    if path.is_symlink():
        return not path.exists()
    if path.suffix or path.stat().st_size > _LONGEST_LINK:
        return False
    try:
        target = path.read_text(encoding="utf-8").strip()
        return "/" in target and (path.parent / target).exists()
    except (OSError, ValueError):
        return False


def _depth(name: str) -> int:
    return name.count("/")


def _bag(bag: str, images: list[str]) -> Bag:
    label, patient = bag.split("/")[:2]
    return Bag(bag, f"{label}/{patient}", tuple(images), label=label)


def _empty_patients(root: Path, names: Iterable[str]) -> list[str]:
    """Return ``class/patient`` for patient folders in which no image was found."""
    found = {"/".join(name.split("/")[:2]) for name in names if _depth(name) in _DEPTHS}
    labels = {patient.split("/")[0] for patient in found}
    folders = [folder for label in labels for folder in (root / label).iterdir() if folder.is_dir()]
    patients = [f"{folder.parent.name}/{folder.name}" for folder in folders if folder.name[0] != "."]
    return [clean_text(patient) for patient in patients if patient not in found]
