"""Read a folder or cell list that holds control samples alone."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.cohort.layouts.folder import skipped_note
from napari_amil.core.cohort.layouts.registry import layout_of, read_cohort
from napari_amil.core.images.read import find_images

_LAYOUTS = "<patient>/<image>, <patient>/<sample>/<image> or <class>/<patient>/..."


def read_controls(path: Path, control: str) -> Cohort:
    """Return the control bags of a cell list, of a cohort, or of a folder of controls alone.

    Of a table those bags are left out that are no reference (``control_reference`` 0).
    In a folder with a folder called ``control`` only what lies in that is taken. Otherwise all is:
    ``<patient>/<image>``, ``<patient>/<sample>/<image>``, or loose images, of which each counts as a patient.

    Raises
    ------
    CohortError
        If there is no control bag; the sentence says what to do.
    """
    if layout_of(path) not in {None, "folder"}:
        cohort = read_cohort(path, control)
        return cohort.where(lambda bag: bag.label == control and bag.control_reference)
    names = [source.name for source in find_images([path])]
    folders = {name: PurePosixPath(name).parts[:-1] for name in names}
    depths = {len(parts) for parts in folders.values()}
    top = {parts[0] for parts in folders.values() if parts}
    if control in top and min(depths) >= 1:
        below = {name: parts[1:] for name, parts in folders.items() if parts[0] == control}
        return _cohort(path, below, control)
    if len(depths) > 1 or max(depths) > 2:
        raise CohortError(f"The images below '{path}' lie at different depths; lay them out as {_LAYOUTS}.")
    return _cohort(path, folders, control)


def _cohort(root: Path, folders: dict[str, tuple[str, ...]], control: str) -> Cohort:
    """Return one bag per folder; an image without one is a bag and a patient of its own."""
    images: dict[tuple[str, ...], list[str]] = {}
    for name, parts in folders.items():
        images.setdefault(parts or (name,), []).append(name)
    bags = [Bag("/".join(p), p[0], tuple(own), label=control) for p, own in images.items()]
    return Cohort(str(root), tuple(bags), (control,), control, "folder", tuple(skipped_note(root)))
