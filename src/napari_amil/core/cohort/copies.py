"""Find images that are copies of each other; keep copies of test images out of the training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from napari_amil.core.base.files import file_sha256
from napari_amil.core.base.types import Bag, Cohort

Place = tuple[Path, int]
"""File and page of an image."""


def file_digests(files: Mapping[str, Place]) -> dict[str, str]:
    """Return ``image -> content``, equal for images whose files are equal byte for byte.

    Only files that share their size with another are read, so that this takes moments. A file that
    cannot be read is left out.
    """
    by_size: dict[int, set[Path]] = defaultdict(set)
    for path, _ in files.values():
        if path.is_file():
            by_size[path.stat().st_size].add(path)
    content = {
        path: content_hash(path) if len(paths) > 1 else str(path)
        for paths in by_size.values()
        for path in paths
    }
    return {name: f"{content[path]}#{page}" for name, (path, page) in files.items() if path in content}


def leave_out_copies(
    train: Cohort, test: Cohort, files: Mapping[str, Place]
) -> tuple[Cohort, tuple[str, ...], tuple[str, ...]]:
    """Return the training part without images of the test part, their names, and the bags that are lost.

    An image of both parts, or a copy of one under another name (`file_digests`), would let a model
    be tested on what it was trained on.
    """
    digests = file_digests(files)
    tested = {digests.get(image, image) for bag in test for image in bag.images}
    images = dict.fromkeys(image for bag in train for image in bag.images)
    copies = tuple(image for image in images if digests.get(image, image) in tested)
    if not copies:
        return train, (), ()
    kept = {bag.bag: _without(bag, copies) for bag in train if set(bag.images) - set(copies)}
    lost = tuple(bag.bag for bag in train if bag.bag not in kept)
    return replace(train, bags=tuple(kept.values())), copies, lost


def _without(bag: Bag, images: Iterable[str]) -> Bag:
    """Return the bag without some of its images."""
    kept = tuple(image for image in bag.images if image not in set(images))
    return replace(
        bag,
        images=kept,
        cells={image: cells for image, cells in bag.cells.items() if image in kept},
        cell_type={image: types for image, types in bag.cell_type.items() if image in kept},
    )


def content_hash(path: Path) -> str:
    """Return the hash of a file's bytes, or its name where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError:
        return str(path)
