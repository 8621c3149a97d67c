"""Find images that are copies of each other; keep copies of test images out of the training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from napari_amil.core.base.errors import ImageError, MissingExtraError
from napari_amil.core.base.files import file_sha256
from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.images.fields import Field, open_field, sampled_pixels

Place = tuple[Path, int]
"""File and page of an image."""


def image_digests(files: Mapping[str, Place]) -> dict[str, str]:
    """Return ``image -> content``, equal for images with equal pixels (`pixel_digest`), whatever their files.

    A file that cannot be read as an image counts by its bytes; one that is not there is left out.
    """
    return {
        name: _digest(path, page, path.stat().st_mtime_ns)
        for name, (path, page) in files.items()
        if path.is_file() or path.is_dir()
    }


def pixel_digest(field: Field) -> str:
    """Return a hash of the size and the pixels of a field, of a large one of samples of it."""
    height, width = field.shape
    pixels = hashlib.sha256(sampled_pixels(field).tobytes()).hexdigest()
    return hashlib.sha256(f"{height} {width} {pixels}".encode()).hexdigest()[:32]


@cache
def _digest(path: Path, page: int, _written_ns: int) -> str:
    """Return the digest of an image, read once."""
    try:
        with open_field(path, page) as field:
            return pixel_digest(field)
    except (ImageError, MissingExtraError):
        return f"{content_hash(path)}#{page}"


def leave_out_copies(
    train: Cohort, test: Cohort, files: Mapping[str, Place]
) -> tuple[Cohort, tuple[str, ...], tuple[str, ...]]:
    """Return the training part without images of the test part, their names, and the bags that are lost.

    An image of both parts, or a copy of one under another name (`image_digests`), would let a model
    be tested on what it was trained on.
    """
    digests = image_digests(files)
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
