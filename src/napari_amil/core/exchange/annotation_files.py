"""Find and read the annotations of images: files beside them, or one file for many images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned
from napari_amil.core.base.files import read_json, regular_file
from napari_amil.core.base.names import name_key
from napari_amil.core.base.tables import header_of
from napari_amil.core.exchange.annotation import TOO_SMALL, Annotation, left_out_sentence, sum_left_out
from napari_amil.core.exchange.box_files import SHAPE_COLUMNS, read_boxes, read_shapes, read_voc
from napari_amil.core.exchange.coco import read_coco
from napari_amil.core.exchange.field_files import (
    is_labelme,
    read_labelme,
    read_rois,
    refuse_cellpose,
)
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.core.exchange.labels import (
    ENDINGS,
    FOLDERS,
    SUFFIXES,
    cells_of_labels,
    is_label_image,
    read_label_image,
)
from napari_amil.core.exchange.yolo import read_yolo
from napari_amil.core.images.fields import open_field
from napari_amil.core.images.read import ImageSource, files_below

_IMAGE_FOLDERS = ("images", "JPEGImages")
_TABLES = (".csv", ".parquet")
_BESIDE = (
    *(".csv", "_shapes.csv", ".xml", ".geojson", ".json", "_rois.zip", "_RoiSet.zip", "_seg.npy"),
    *(e + s for e in ENDINGS for s in SUFFIXES),
)
_IN_FOLDERS = {
    "labels": (*SUFFIXES, ".txt"),
    "masks": SUFFIXES,
    "shapes": (".csv",),
    "annotations": (".xml", ".csv", ".geojson"),
    "Annotations": (".xml",),
    "geojson": (".geojson",),
    "labelme": (".json",),
    "imagej": ("_rois.zip", "_RoiSet.zip"),
    "yolo": (".txt",),
}
"""``folder -> suffixes`` of annotations in folders beside the images, or beside their folder."""
_KINDS = (
    "COCO, GeoJSON or LabelMe (.json, .geojson), a table (.csv, .parquet), Pascal VOC (.xml), a RoiSet of "
    "ImageJ (.zip), labels of YOLO (.txt) or label images (.png, .tif)"
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
    if place.is_dir():
        found = yield from _of_folder(place, images, classes)
    else:
        found = _fitted(_of_file(place, images, classes), place, images)
    left_out = sum_left_out(found.values())
    if left_out:
        yield Warned(left_out_sentence(place.name or str(place), left_out))
    return found


def _of_file(
    path: Path, images: Mapping[str, ImageSource], classes: Collection[str]
) -> dict[str, Annotation]:
    """Return the annotations in a file by its names of the images; ``""`` stands for its only image."""
    suffix = path.suffix.lower()
    if not regular_file(path).is_file():
        raise AmilError(f"There is no file or folder '{path}'; check the path.")
    if suffix == ".json" and _is_coco(path):
        return read_coco(path, classes)
    if suffix in _TABLES and not _is_shapes(path):
        return read_boxes(path, classes)
    only = next(iter(images.values())) if len(images) == 1 else None
    return {"": _of_one(path, 0, classes, only)}


def _of_one(path: Path, page: int, classes: Collection[str], image: ImageSource | None = None) -> Annotation:
    """Return the annotation in a file of one image; YOLO needs the image itself."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return refuse_cellpose(path)
    if suffix in {".zip", ".roi"}:
        return read_rois(path)
    if suffix == ".txt" and image is not None:
        with open_field(image.path, image.page) as field:
            return read_yolo(path, field.shape)
    if suffix == ".json" and is_labelme(path):
        return read_labelme(path)
    if suffix in SUFFIXES:
        labels = read_label_image(path, page)
        height, width = labels.shape
        cells = cells_of_labels(labels)
        n_small = len(np.unique(labels[labels > 0])) - len(cells)
        return Annotation(cells, shape=(height, width), left_out={TOO_SMALL: n_small} if n_small else {})
    if suffix == ".xml":
        return read_voc(path, classes)
    if suffix in {".json", ".geojson"}:
        return read_geojson(path)
    if suffix in _TABLES and _is_shapes(path):
        return read_shapes(path, page)
    if suffix in _TABLES:
        found = read_boxes(path)
        if len(found) != 1:
            raise AmilError(f"'{path}' lists cells of {len(found)} images; give it by itself, with --cells.")
        return next(iter(found.values()))
    raise AmilError(f"'{path}' holds no cells that can be read; give {_KINDS}.")


def _is_coco(path: Path) -> bool:
    content = read_json(path)
    return isinstance(content, dict) and "images" in content


def _is_shapes(path: Path) -> bool:
    """Return whether a table is a Shapes layer that napari saved."""
    return path.suffix.lower() == ".csv" and set(header_of(regular_file(path))) >= SHAPE_COLUMNS


def _fitted(
    found: Mapping[str, Annotation], place: Path, images: Mapping[str, ImageSource]
) -> dict[str, Annotation]:
    """Return annotations under the names of the images: the same name, else the only one that ends so.

    Raises
    ------
    AmilError
        If the file fits no image, or two of its names mean the same image and neither is its very name.
    """
    fitted: dict[str, Annotation] = {}
    meant: dict[str, str] = {}
    for name, annotation in found.items():
        owner = _owner(name or place.stem, images)
        if owner is None and not name and len(images) == 1:
            owner = next(iter(images))
        if owner is None or meant.get(owner) == owner:
            continue
        if owner in meant and name != owner:
            raise AmilError(
                f"'{place}' has cells of '{meant[owner]}' and of '{name}', and both may mean the image "
                f"'{owner}'; give the images under the names that the file has."
            )
        fitted[owner], meant[owner] = annotation, name
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
    cases = [
        (_rules(name_key(name, fold_case=fold)), {image: name_key(image, fold_case=fold) for image in images})
        for fold in (False, True)
    ]
    for number in range(len(cases[0][0])):
        for rules, keys in cases:
            fitting = [image for image, key in keys.items() if rules[number](key)]
            if fitting:
                return fitting[0] if len(fitting) == 1 else None
    return None


def _rules(key: str) -> tuple[Callable[[str], bool], ...]:
    """Return tests whether a name means an image, best first: the same path, its end, its file, its stem."""
    path = PurePosixPath(key)
    stems = {path.stem, _without_ending(path.stem)}
    return (
        lambda image: image == key,
        lambda image: f"/{image}".endswith(f"/{key}") or f"/{key}".endswith(f"/{image}"),
        lambda image: PurePosixPath(image).name == path.name,
        lambda image: PurePosixPath(image).stem in stems,
    )


def _without_ending(stem: str) -> str:
    """Return the name of the image whose label image or shapes are called ``stem``."""
    ending = next(
        (e for e in ("_cp_masks", *ENDINGS, "_shapes", "_rois", "_RoiSet", "_seg") if stem.endswith(e)), ""
    )
    return stem.removesuffix(ending)


def _of_folder(
    folder: Path, images: Mapping[str, ImageSource], classes: Collection[str]
) -> Generator[Event, None, dict[str, Annotation]]:
    """Return the annotations beside images, and those of the files at the top of a folder."""
    whole, origin = yield from _of_collections(folder, images, classes)
    own = {source.path.resolve() for source in images.values()}
    there = {path for path in files_below(folder) if path.is_file()} - set(origin.values())
    taken = Counter(name_key(name, fold_case=True) for name in images)
    by_key: dict[str, list[Path]] = {}
    for path in sorted(there):
        by_key.setdefault(name_key(path.relative_to(folder).as_posix(), fold_case=True), []).append(path)
    for number, (name, source) in enumerate(images.items()):
        yield Step("annotations", number, len(images), name)
        alike = taken[name_key(name, fold_case=True)] == 1  # else letters' case tells images apart
        places = dict.fromkeys(_places(name, source.page, folder.name))
        beside = [path for place in places for path in _meant(folder / place, by_key, folder, alike)]
        beside = [path for path in dict.fromkeys(beside) if path.resolve() not in own]
        beside = [path for path in beside if path.suffix.lower() != ".json" or is_labelme(path)]
        rivals = [*([origin[name]] if name in origin else []), *beside]
        try:
            if len(rivals) > 1:
                listed = " and ".join(f"'{path.name}'" for path in rivals)
                raise AmilError(f"'{name}' is annotated more than once, in {listed}; keep one of them.")
            if beside:
                whole[name] = _of_one(beside[0], source.page, classes, source)
        except AmilError as error:
            whole.pop(name, None)
            yield Failed(name, str(error))
    yield from _say_lost(there, images)
    return whole


def _meant(place: Path, by_key: Mapping[str, list[Path]], folder: Path, alike: bool) -> list[Path]:
    """Return the file at a place, else those whose names differ by Unicode form or case alone."""
    found = by_key.get(name_key(place.relative_to(folder).as_posix(), fold_case=True), [])
    if place in found:
        return [place]
    key = name_key(place.as_posix())
    return [path for path in found if alike or name_key(path.as_posix()) == key]


def _of_collections(
    folder: Path, images: Mapping[str, ImageSource], classes: Collection[str]
) -> Generator[Event, None, tuple[dict[str, Annotation], dict[str, Path]]]:
    """Return the annotations in COCO files and tables at the top of a folder, and the file of each."""
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


def _places(name: str, page: int, folder: str) -> Iterator[str]:
    """Yield the possible files of the annotation of an image, relative to a folder with this name."""
    path = PurePosixPath(name.rsplit("#", 1)[0] if page else name)
    for suffix in (*_BESIDE, *_IN_FOLDERS.get(folder, ())):
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
    stems = {name_key(PurePosixPath(name.rsplit("#", 1)[0]).stem, fold_case=True) for name in images}
    lost = [
        path.name
        for path in sorted(there)
        if is_label_image(path.name) and name_key(_without_ending(path.stem), fold_case=True) not in stems
    ]
    if lost:
        yield Warned(f"{len(lost)} label image(s) belong to no image, '{lost[0]}' first; check their names.")
