"""Find the image in a Zarr: one array, OME-Zarr 0.1 to 0.5, or the layout of bioformats2raw."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_amil.core.base.optional import optional
from napari_amil.core.images.blosc import checked_store, open_with_checked_codec
from napari_amil.core.images.pixel_size import PixelSize, pixel_size, to_number
from napari_amil.core.images.refusals import MAX_PIXELS, MIN_SIDE_PX, UnusableError, check_claim
from napari_amil.core.images.samples import check_numbers
from napari_amil.core.images.tiff import n_frames

_MARKS = (".zarray", ".zgroup", "zarr.json")
_CODECS = frozenset(
    {"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd", "delta", "shuffle", "packbits"}
    | {"bytes", "crc32c", "sharding_indexed", "transpose"}
)
"""Codecs that only compress; others could run code that the file brings along."""
_BLOSC = "blosc"
_MAX_CHUNK_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """The array of an image, a letter for each of its axes, and its pixel size."""

    array: Any
    axes: str
    pixel_size: PixelSize


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder that holds a Zarr array or group."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def open_zarr(path: Path) -> ZarrImage:
    """Return the image of a Zarr in full resolution.

    Raises
    ------
    UnusableError
        If there is none, or more than one; the sentence names the folder to give.
    """
    return next(_levels(path))


def zarr_levels(path: Path) -> list[ZarrImage]:
    """Return the image of a Zarr in all its resolutions, from the largest to the smallest.

    Raises
    ------
    UnusableError
        As `open_zarr`.
    """
    return list(_levels(path))


def _levels(path: Path) -> Iterator[ZarrImage]:
    """Yield the resolutions of the image of a Zarr that are large enough to show cells."""
    opened = optional("zarr").open(str(path), mode="r")
    attributes = _ome(opened)
    if "multiscales" not in attributes and not hasattr(opened, "shape"):
        opened, path = _only_image(opened, path, attributes)
        attributes = _ome(opened)
    if "image-label" in attributes:
        raise UnusableError("holds labels of cells, no image; give the folder of the image itself.")
    if "multiscales" not in attributes or hasattr(opened, "shape"):
        _check(opened, axes := _guessed_axes(opened.shape), path)
        yield ZarrImage(_with_checked_chunks(opened, path), axes, PixelSize())
        return
    described = attributes["multiscales"][0]
    axes = "".join(_axis_letter(axis) for axis in described.get("axes", []))
    full_px, size = 0, zarr_pixel_size(described)
    for dataset in described["datasets"]:
        array = opened[str(dataset["path"])]
        if not axes:  # versions 0.1 and 0.2 fix the axes
            axes = "TCZYX" if len(array.shape) == 5 else _guessed_axes(array.shape)
        if full_px and min(array.shape[axes.index(axis)] for axis in "YX") < MIN_SIDE_PX:
            return
        _check(array, axes, path / str(dataset["path"]))
        array = _with_checked_chunks(array, path / str(dataset["path"]))
        width = array.shape[axes.index("X")]
        full_px = full_px or width
        yield ZarrImage(array, axes, PixelSize(size.um and size.um * full_px / width, size.note))


def _with_checked_chunks(array: Any, path: Path) -> Any:  # noqa: ANN401
    """Return an array in a folder, whose chunks are refused where Blosc would read beyond their end."""
    names = list(_codec_names(array.metadata.to_dict()))
    if not any(name.endswith(_BLOSC) for name in names):
        return array
    if array.metadata.zarr_format == 3 and f"numcodecs.{_BLOSC}" not in names:
        return open_with_checked_codec(path)
    if array.shards or not names[-1].endswith(_BLOSC) or sum(name.endswith(_BLOSC) for name in names) > 1:
        raise UnusableError("is compressed with Blosc within other codecs; save it with Blosc alone.")
    store = checked_store(path)
    store.most_bytes = math.prod(array.chunks) * array.dtype.itemsize
    return optional("zarr").open(store, mode="r")


def zarr_pixel_size(multiscale: Mapping[str, Any]) -> PixelSize:
    """Return the pixel size of the first level of an OME-Zarr image."""
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", [])]
    across = next((i for i, axis in enumerate(axes) if axis.get("name") == "x"), None)
    if across is None:
        return PixelSize()
    changes = [
        *multiscale["datasets"][0].get("coordinateTransformations", []),
        *multiscale.get("coordinateTransformations", []),
    ]
    scales = [change["scale"][across] for change in changes if "scale" in change]
    if not scales:
        return PixelSize()
    unit = str(axes[across].get("unit", ""))
    numbers = [to_number(scale) for scale in scales]
    if len(scales) == 1 or None in numbers:
        return pixel_size(scales[numbers.index(None) if None in numbers else 0], unit)
    return pixel_size(math.prod(number for number in numbers if number is not None), unit)


def _ome(opened: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the OME metadata of a Zarr, which version 0.5 keeps under the key ``ome``."""
    attributes = dict(opened.attrs)
    nested = attributes.get("ome")
    return dict(nested) if isinstance(nested, Mapping) else attributes


def _only_image(group: Any, path: Path, attributes: dict[str, Any]) -> tuple[Any, Path]:  # noqa: ANN401
    """Return the image below a group that is none itself, and its folder."""
    if "plate" in attributes or "well" in attributes:
        raise UnusableError("holds a plate of many images; give the folder of one, such as 'A/1/0' in it.")
    names = _image_names(group)
    if not names:
        raise UnusableError("holds no OME-Zarr image; give the folder of one array or of an OME-Zarr.")
    if len(names) > 1:
        listed = ", ".join(f"'{path.name}/{name}'" for name in names[:3])
        raise UnusableError(f"holds {len(names)} images; give the folder of one of them, such as {listed}.")
    return group[names[0]], path / names[0]


def _image_names(group: Any) -> list[str]:  # noqa: ANN401
    """Return the names of the images directly below a group, in their order."""
    members = dict(group.members())
    listed = _ome(members["OME"]).get("series", []) if "OME" in members else []
    names = [str(name) for name in listed if str(name) in members]
    return names or [
        name
        for name, member in sorted(members.items())
        if "multiscales" in _ome(member) or hasattr(member, "shape")
    ]


def _axis_letter(axis: Any) -> str:  # noqa: ANN401
    """Return the letter of an axis that OME-Zarr describes or, in version 0.3, only names."""
    name = str(axis["name"] if isinstance(axis, Mapping) else axis)
    return name[:1].upper()


def _guessed_axes(shape: tuple[int, ...]) -> str:
    """Return the axes of an array that does not name them: colours last, or first if there are three."""
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3 and shape[2] in {3, 4}:
        return "YXS"
    if len(shape) == 3 and shape[0] == 3:
        return "CYX"
    raise UnusableError(f"has the shape {shape}; give (height, width, 3) or OME-Zarr.")


def _check(array: Any, axes: str, path: Path) -> None:  # noqa: ANN401
    """Refuse an array that is no image, or that claims more than its folder holds."""
    shape = array.shape
    if not {"Y", "X"} <= set(axes) or len(axes) != len(shape) or len(set(axes)) != len(axes):
        raise UnusableError(f"has the axes '{axes}' for the shape {shape}; it needs y and x.")
    names = _codec_names(array.metadata.to_dict())
    foreign = sorted({name.removeprefix("numcodecs.") for name in names} - _CODECS)
    if foreign:
        raise UnusableError(
            f"is compressed with '{foreign[0]}', which is not read; save it with Blosc or zlib."
        )
    check_numbers(array.dtype)
    if min(shape[axes.index("Y")], shape[axes.index("X")]) < MIN_SIDE_PX:
        raise UnusableError(f"is smaller than {MIN_SIDE_PX} pixels; give a whole field.")
    n_planes = n_frames(axes, shape)
    if n_planes != 1:
        raise UnusableError(f"holds {n_planes} planes; save the one to look at as a Zarr of its own.")
    if math.prod(array.chunks) * array.dtype.itemsize > _MAX_CHUNK_BYTES:
        raise UnusableError(f"is stored in chunks of {array.chunks} pixels; save it in smaller ones.")
    n_bytes = math.prod(shape) * array.dtype.itemsize
    if n_bytes > MAX_PIXELS:
        check_claim(n_bytes, _stored_bytes(path, n_bytes))


def _codec_names(metadata: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the name of every codec in the metadata of an array, those within shards too."""
    if isinstance(metadata, Mapping):
        for key in ("filters", "compressor", "codecs", "index_codecs"):
            for codec in _listed(metadata.get(key)):
                yield str(codec.get("id", codec.get("name")))
                yield from _codec_names(codec.get("configuration"))


def _listed(codecs: Any) -> list[Any]:  # noqa: ANN401
    if codecs is None:
        return []
    several = codecs if isinstance(codecs, list | tuple) else [codecs]
    return [one if isinstance(one, Mapping) else one.get_config() for one in several]


def _stored_bytes(folder: Path, enough: int) -> int:
    """Return the size of the files below a folder in bytes; counting ends at ``enough``."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            total += Path(place, name).stat().st_size
            if total > enough:
                return total
    return total
