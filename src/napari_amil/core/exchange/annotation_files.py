"""Where the cells of an image are written down: beside it, or in one file for many images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from pathlib import Path, PurePosixPath

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.core.base.files import read_json, regular_file
from napari_amil.core.base.tables import header_of
from napari_amil.core.exchange.annotation import Annotation
from napari_amil.core.exchange.boxes import read_boxes
from napari_amil.core.exchange.coco import read_coco
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.core.exchange.labels import (
    ENDINGS,
    FOLDERS,
    SUFFIXES,
    cells_of_labels,
    is_label_image,
    read_label_image,
)
from napari_amil.core.exchange.shapes import COLUMNS, read_shapes
from napari_amil.core.exchange.voc import read_voc
from napari_amil.core.images.read import ImageSource

_IMAGE_FOLDERS = ("images", "JPEGImages")
_TABLES = (".csv", ".parquet")
_BESIDE = (".csv", "_shapes.csv", ".xml", ".geojson", *(e + s for e in ENDINGS for s in SUFFIXES))
_IN_FOLDERS = {
    "labels": SUFFIXES,
    "masks": SUFFIXES,
    "shapes": (".csv",),
    "annotations": (".xml", ".csv", ".geojson"),
    "Annotations": (".xml",),
    "geojson": (".geojson",),
}
"""Folders beside the images, or beside their folder, and how the name of the image goes on there."""
_KINDS = (
    "COCO or GeoJSON (.json, .geojson), a table (.csv, .parquet), Pascal VOC (.xml) or labels (.png, .tif)"
)


def read_annotations(
    place: Path, images: Mapping[str, ImageSource], classes: Collection[str] = ()
) -> Generator[Event, None, dict[str, Annotation]]:
    """Return the annotation of every image that has one; yield a `Failed` for each that cannot be used.

    Parameters
    ----------
    place
        A folder with annotations beside the images (or under the same names), or one file.
    images
        By name, which is the path relative to the folder that holds them.
    classes
        Names of the objects that are cells, in formats that name them; all where there is none.

    Raises
    ------
    AmilError
        If ``place`` is a file that cannot be used, or fits none of the images.
    """
    if not place.is_dir():
        return _fitted(_of_file(place, images, classes), place, images)
    return (yield from _of_folder(place, images, classes))


def _of_file(
    path: Path, images: Mapping[str, ImageSource], classes: Collection[str]
) -> dict[str, Annotation]:
    """Return what one file says, by the names that it uses; ``""`` stands for its only image."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise AmilError(f"There is no file or folder '{path}'; check the path.")
    if suffix == ".json" and _is_coco(path):
        return {name: Annotation(cells) for name, cells in read_coco(path, classes).items()}
    if suffix in _TABLES and not _is_shapes(path):
        return read_boxes(path)
    return {"": _of_one(path, 0, classes)}


def _of_one(path: Path, page: int, classes: Collection[str]) -> Annotation:
    """Return what a file of one image says."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        labels = read_label_image(path, page)
        height, width = labels.shape
        return Annotation(cells_of_labels(labels), shape=(height, width))
    if suffix == ".xml":
        return Annotation(read_voc(path, classes))
    if suffix in {".json", ".geojson"}:
        return Annotation(read_geojson(path))
    if suffix in _TABLES and _is_shapes(path):
        return Annotation(read_shapes(path, page))
    if suffix in _TABLES:
        found = read_boxes(path)
        return next(iter(found.values())) if len(found) == 1 else found[path.stem]
    raise AmilError(f"'{path}' holds no cells that can be read; give {_KINDS}.")


def _is_coco(path: Path) -> bool:
    content = read_json(path)
    return isinstance(content, dict) and "images" in content


def _is_shapes(path: Path) -> bool:
    """Return whether a table is a Shapes layer that napari saved."""
    return path.suffix.lower() == ".csv" and set(header_of(regular_file(path))) >= COLUMNS


def _fitted(
    found: Mapping[str, Annotation], place: Path, images: Mapping[str, ImageSource]
) -> dict[str, Annotation]:
    """Return annotations under the names of the images: the same name, else the only one that ends so."""
    fitted = {}
    for name, annotation in found.items():
        owner = _owner(name or place.stem, images)
        if owner is None and not name and len(images) == 1:
            owner = next(iter(images))
        if owner is not None:
            fitted[owner] = annotation
    if not fitted:
        first = next(iter(found), "") or place.stem
        raise AmilError(
            f"'{place}' belongs to none of the images: it names '{first}', "
            f"but the images are called like '{next(iter(images), '')}'."
        )
    return fitted


def _owner(name: str, images: Mapping[str, ImageSource]) -> str | None:
    """Return the image that a name in a file means, None where there is none or more than one."""
    if name in images:
        return name
    path = PurePosixPath(name)
    stems = {path.stem, _without_ending(path.stem)}
    rules: tuple[Callable[[str], bool], ...] = (
        lambda image: f"/{image}".endswith(f"/{name}") or f"/{name}".endswith(f"/{image}"),
        lambda image: PurePosixPath(image).name == path.name,
        lambda image: PurePosixPath(image).stem in stems,
    )
    for rule in rules:
        fitting = [image for image in images if rule(image)]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _without_ending(stem: str) -> str:
    """Return the name of the image whose label image or shapes are called ``stem``."""
    ending = next((e for e in ("_cp_masks", *ENDINGS, "_shapes") if stem.endswith(e)), "")
    return stem.removesuffix(ending)


def _of_folder(
    folder: Path, images: Mapping[str, ImageSource], classes: Collection[str]
) -> Generator[Event, None, dict[str, Annotation]]:
    """Return the annotations beside images, and those of the files at the top of a folder."""
    whole, origin = yield from _of_collections(folder, images, classes)
    own = {source.path.resolve() for source in images.values()}
    there = {path for path in folder.rglob("*") if path.is_file()} - set(origin.values())
    for number, (name, source) in enumerate(images.items()):
        yield Step("annotations", number, len(images), name)
        beside = [folder / p for p in _places(name, source.page) if folder / p in there]
        beside = [path for path in beside if path.resolve() not in own]
        rivals = [*([origin[name]] if name in origin else []), *beside]
        try:
            if len(rivals) > 1:
                listed = " and ".join(f"'{path.name}'" for path in rivals)
                raise AmilError(f"'{name}' is annotated more than once, in {listed}; keep one of them.")
            if beside:
                whole[name] = _of_one(beside[0], source.page, classes)
        except AmilError as error:
            whole.pop(name, None)
            yield Failed(name, str(error))
    yield from _say_lost(there, images)
    return whole


def _of_collections(
    folder: Path, images: Mapping[str, ImageSource], classes: Collection[str]
) -> Generator[Event, None, tuple[dict[str, Annotation], dict[str, Path]]]:
    """Return what COCO files and tables at the top of a folder say, and which file says it."""
    whole: dict[str, Annotation] = {}
    origin: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in {".json", *_TABLES}):
        try:
            if not _is_collection(path):
                continue
            found = _fitted(_of_file(path, images, classes), path, images)
        except AmilError as error:
            yield Failed(path.name, str(error))
            continue
        twice = next((name for name in found if name in origin), None)
        if twice is not None:
            raise AmilError(
                f"'{origin[twice]}' and '{path.name}' both say where the cells of '{twice}' are; "
                "name the one you mean."
            )
        whole |= found
        origin |= dict.fromkeys(found, path)
    return whole, origin


def _is_collection(path: Path) -> bool:
    """Return whether a file at the top of a folder says where cells are, as clinical tables do not."""
    if path.suffix.lower() == ".json":
        return _is_coco(path)
    if path.suffix.lower() == ".parquet":
        return path.stem == "cells"
    header = ",".join(header_of(regular_file(path))).lower()
    return "image" in header and any(side in header for side in ("y0", "ymin", "height"))


def _places(name: str, page: int) -> Iterator[str]:
    """Yield where the annotation of an image may lie, relative to its folder."""
    path = PurePosixPath(name.rsplit("#", 1)[0] if page else name)
    for suffix in _BESIDE:
        yield str(path.with_name(path.stem + suffix))
    yield f"{path}.geojson"
    parts = path.parts
    tails = {parts, parts[1:]} if len(parts) > 1 and parts[0] in _IMAGE_FOLDERS else {parts}
    for sub, suffixes in _IN_FOLDERS.items():
        for tail in sorted(tails):
            under = PurePosixPath(sub, *tail)
            beside = path.parent / sub / path.name
            for place in dict.fromkeys((under, beside)):
                yield from (str(place.with_name(place.stem + suffix)) for suffix in suffixes)
                if sub in FOLDERS:
                    yield from (str(place.with_name(place.stem + e + s)) for e in ENDINGS for s in SUFFIXES)
                if ".geojson" in suffixes:
                    yield f"{place}.geojson"


def _say_lost(there: Collection[Path], images: Mapping[str, ImageSource]) -> Iterator[Event]:
    """Warn of label images to which no image belongs."""
    stems = {PurePosixPath(name.rsplit("#", 1)[0]).stem for name in images}
    lost = [
        path.name
        for path in sorted(there)
        if is_label_image(path.name) and _without_ending(path.stem) not in stems
    ]
    if lost:
        yield Warned(f"{len(lost)} label image(s) belong to no image, '{lost[0]}' first; check their names.")
