"""Sources of bags: a cohort, or loose images, and where their files lie."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Understood
from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.cohort.control_folder import read_controls
from napari_amil.core.cohort.folds import split
from napari_amil.core.cohort.layouts.folder import skipped_note
from napari_amil.core.cohort.layouts.registry import (
    describe_cohort,
    layout_of,
    read_cohort,
    unsupported_reason,
)
from napari_amil.core.images.read import ImageSource, find_images, locate


@dataclass(frozen=True, eq=False)
class Source:
    """Bags, and where their images lie.

    Parameters
    ----------
    cohort
        The bags; those without cells are detected on the way.
    files
        ``image name -> (path, page)``.
    """

    cohort: Cohort
    files: dict[str, tuple[Path, int]]


Kind = Literal["auto", "cohort", "images"]
"""Kind of the inputs: one cohort, loose images, or whichever they are laid out as."""


def open_source(inputs: Sequence[Path], control: str, kind: Kind = "auto") -> Source:
    """Return the bags of a cohort, or one bag per image where the inputs are loose images.

    One file or folder that a layout recognises (`napari_amil.core.cohort.layouts`) is a cohort, anything
    else is loose images, unless ``kind`` says which. There need be no control among the bags.

    Raises
    ------
    CohortError
        If ``kind`` is ``cohort`` and there are several inputs, or the cohort cannot be read or used.
    ImageError
        If there is no image.
    """
    if kind == "cohort" and len(inputs) != 1:
        raise CohortError(f"A cohort is one folder or table, not {len(inputs)} inputs; give one.")
    if kind == "cohort" or (kind == "auto" and len(inputs) == 1 and layout_of(inputs[0])):
        return cohort_source(read_cohort(inputs[0], control, to_score=True))
    found = find_images(inputs)
    bags = tuple(Bag(source.name, source.name, (source.name,)) for source in found)
    notes = tuple(note for path in inputs if path.is_dir() for note in skipped_note(path))
    return Source(Cohort(".", bags, (control,), control, notes=notes), _files(found))


def opening_source(
    inputs: Sequence[Path], control: str, kind: Kind = "auto"
) -> Generator[Event, None, Source]:
    """Yield the interpretation of the inputs, and return their source (`open_source`)."""
    source = open_source(inputs, control, kind)
    yield Understood(describe_cohort(source.cohort))
    return source


def opening_images(inputs: Sequence[Path], kind: Kind = "auto") -> Generator[Event, None, list[ImageSource]]:
    """Yield the number of images of the inputs, and return them; a table holds those that it names."""
    if kind == "auto":
        kind = "cohort" if len(inputs) == 1 and inputs[0].is_file() and layout_of(inputs[0]) else "images"
    source = open_source(inputs, "control", kind)
    images = [ImageSource(path, page, name) for name, (path, page) in source.files.items()]
    counted = f"{len(images):,} image{'' if len(images) == 1 else 's'}"
    yield Understood("; ".join([counted, *source.cohort.notes]))
    return images


def opening_cohort(
    path: Path, control: str, kind: Kind = "auto", *, to_score: bool = False
) -> Generator[Event, None, Cohort]:
    """Yield the interpretation of a path, and return its cohort (`read_cohort`).

    Raises
    ------
    CohortError
        If ``kind`` is ``images``, which have no labels, or the cohort cannot be read.
    """
    if kind == "images":
        raise CohortError("Loose images have no patients and labels; give a cohort, or score them.")
    cohort = read_cohort(path, control, to_score=to_score)
    yield Understood(describe_cohort(cohort))
    return cohort


def opening_controls(path: Path, control: str) -> Generator[Event, None, Cohort]:
    """Yield the interpretation of a path, and return its control bags (`read_controls`)."""
    cohort = read_controls(path, control)
    yield Understood(describe_cohort(cohort))
    return cohort


def cohort_source(cohort: Cohort) -> Source:
    """Return the source of a cohort whose image names are relative to its root.

    Raises
    ------
    CohortError
        If its layout can be read and checked only.
    """
    if reason := unsupported_reason(cohort):
        raise CohortError(reason)
    names = dict.fromkeys(image for bag in cohort for image in bag.images)  # a set has no lasting order
    return Source(cohort, {name: locate(Path(cohort.root), name) for name in names})


def _files(sources: Sequence[ImageSource]) -> dict[str, tuple[Path, int]]:
    return {source.name: (source.path, source.page) for source in sources}


def sources_by_fold(source: Source, held_out_fold: int) -> tuple[Source, Source]:
    """Return training and test part of a source whose bags have folds.

    Raises
    ------
    CohortError
        If a bag has no fold, or one of the two parts would be empty.
    """
    train, test = split(source.cohort, held_out_fold)
    return _part(source, train), _part(source, test)


def _part(source: Source, cohort: Cohort) -> Source:
    """Return some bags of a source with the files of their images alone."""
    images = {image for bag in cohort for image in bag.images}
    return Source(cohort, {name: place for name, place in source.files.items() if name in images})
