"""Names of images that tell apart files of one name in different folders, and the image that cells lie on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from napari.layers import Image, Shapes

from napari_amil.plugin.layers.planes import image_name
from napari_amil.plugin.layers.rows import CellRecord


def full_name(image: Image, place: tuple[int, ...]) -> tuple[str, ...]:
    """Return the parts of the path of one plane of an image, the name last; without a file only that."""
    path = getattr(image.source, "path", None)
    folders = Path(path).absolute().parent.parts if path else ()
    return (*folders, image_name(image, place))


def distinct_name(
    image: Image | None, record: CellRecord, images: Sequence[Image], taken: Collection[str]
) -> str:
    """Return a name for the image of ``record`` that no other image has.

    It is the name of the file, with as many of its folders as it takes to tell it from the other open
    ``images`` and from the names in ``taken``; a number where there are no folders.

    Parameters
    ----------
    image
        The image that the cells lie on, None where it is closed.
    """
    own = full_name(image, record.place) if image is not None else (record.image_name,)
    others = [full_name(other, record.place) for other in images if other is not image]
    for n_parts in range(1, len(own) + 1):
        name = "/".join(part.strip("/\\") for part in own[-n_parts:])
        is_alone = all(other[-n_parts:] != own[-n_parts:] for other in others if len(other) >= n_parts)
        if is_alone and name not in taken:
            return name
    stem, number = own[-1], 2
    while f"{stem} [{number}]" in taken:
        number += 1
    return f"{stem} [{number}]" if stem in taken else stem


def image_below(
    record: CellRecord, images: Sequence[Image], others: Collection[str], beside: Path | None
) -> Image | None:
    """Return the open image that cells from a file lie on, by name and size.

    Parameters
    ----------
    others
        Names of the images of other cell layers. Where one of them has the same last part, only an image in
        the folder that the name says will do.
    beside
        Folder of the file of the cells; of several images of one name that in this folder is taken.
    """
    fitting = [image for image in reversed(images) if _fits(image, record)]
    wanted = _parts(record.image_name)
    in_folder = [image for image in fitting if _folders(image, record, len(wanted) - 1) == wanted[:-1]]
    if len(wanted) > 1 and in_folder:
        return in_folder[0]
    if any(_parts(name)[-1] == wanted[-1] and name != record.image_name for name in others):
        return None
    near = [image for image in fitting if beside is not None and _folder_of(image) == beside]
    return next(iter([*near, *fitting]), None)


def beside_of(cells: Shapes) -> Path | None:
    """Return the folder of the file that a layer was read from."""
    path = getattr(cells.source, "path", None)
    return Path(path).absolute().parent if path else None


def shape_of(image: Image) -> tuple[int, ...]:
    """Return the shape of an image without its colours."""
    shape = (image.data[0] if image.multiscale else image.data).shape
    return tuple(int(n) for n in (shape[:-1] if image.rgb else shape))


def _fits(image: Image, record: CellRecord) -> bool:
    """Return whether the cells may lie on ``image``, by the last part of its name and its size."""
    shape = shape_of(image)
    size, n_lead = shape[-2:], len(shape) - 2
    if n_lead != len(record.place) or any(i >= n for i, n in zip(record.place, shape[:-2], strict=True)):
        return False
    own = record.image_shape
    fits = size == own if record.size_known else all(n >= part for n, part in zip(size, own, strict=True))
    name, wanted = image_name(image, record.place), _parts(record.image_name)[-1]
    return fits and wanted in {name, Path(name).stem}


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


def _folders(image: Image, record: CellRecord, n: int) -> tuple[str, ...]:
    parts = full_name(image, record.place)[:-1]
    return parts[len(parts) - n :] if n else ()


def _folder_of(image: Image) -> Path | None:
    path = getattr(image.source, "path", None)
    return Path(path).absolute().parent if path else None
