"""Find images and read each into one well-defined array, or refuse it in one sentence.

Grey becomes three equal channels, alpha is composited on white, more than 8 bits are scaled to 8 (see
`samples.Levels`), palettes are looked up, CMYK is refused. Rows and columns are those of the file: like
napari, an EXIF orientation is not applied, so that boxes fit the picture.
"""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from napari_amil.core.base.errors import ImageError
from napari_amil.core.base.files import special_kind
from napari_amil.core.base.types import Image
from napari_amil.core.images.decode import decode_picture, is_picture, picture_size
from napari_amil.core.images.ome_zarr import is_zarr
from napari_amil.core.images.refusals import UnusableError, reading
from napari_amil.core.images.samples import Samples, to_rgb
from napari_amil.core.images.tiff import decode_tiff, is_tiff_start, open_tiff, tiff_frames

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp"})
"""Extensions of image files, in lower case."""
SCANNER_FORMATS = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".czi"})
"""Extensions of slides of scanners, of which fields are chosen first (`slide.py`)."""
_PAGE = re.compile(r"(?P<file>.+\.tiff?)#(?P<page>[1-9]\d*)", re.IGNORECASE)


@dataclass(frozen=True)
class ImageSource:
    """One field: a page of a file, under the name that tables use for it."""

    path: Path
    page: int
    name: str


def read_image(path: Path, page: int = 0) -> Image:
    """Return one page of a PNG, JPEG, BMP, WebP or TIFF as ``(h, w, 3)`` uint8, RGB.

    Parameters
    ----------
    path
        The file.
    page
        Number of the page, counted from 0; above 0 only in a TIFF.

    Raises
    ------
    ImageError
        If the file cannot be read or used; the sentence names it, the reason and the remedy.
    """
    with reading(path):
        return to_rgb(read_samples(path, page))


def read_samples(path: Path, page: int) -> Samples:
    """Return the samples of one page of a file; its errors are those of `reading`."""
    if not is_tiff(path):
        check_page(page, 1)
        return decode_picture(path)
    with open_tiff(path) as tif:
        check_page(page, len(tiff_frames(tif)))
        return decode_tiff(tif, page)


def n_pages(path: Path) -> int:
    """Return the number of fields in a file: 1 but for a multi-page TIFF.

    Raises
    ------
    ImageError
        If the file is no readable image.
    """
    with reading(path):
        if is_zarr(path) or not is_tiff(path):
            return 1
        with open_tiff(path) as tif:
            return len(tiff_frames(tif))


def page_sizes(path: Path) -> tuple[tuple[int, int], ...]:
    """Return height and width of every field in a file, from its header; nothing is decoded.

    Raises
    ------
    ImageError
        If the file is no readable image.
    """
    with reading(path):
        if is_zarr(path):
            raise UnusableError("is a Zarr, whose sizes are not in one header; open it by itself.")
        if not is_tiff(path):
            return (picture_size(path),)
        with open_tiff(path) as tif:
            return tuple(
                (series.shape[series.axes.index("Y")], series.shape[series.axes.index("X")])
                for series, _ in tiff_frames(tif)
            )


def locate(root: Path, name: str) -> tuple[Path, int]:
    """Return file and page of the image called ``name`` in tables, relative to ``root``.

    ``stack.tif#2`` is the second page of ``stack.tif``, so its page is 1.
    """
    found = _PAGE.fullmatch(name)
    if found and not _on_disk(root, name).exists():
        return _on_disk(root, found["file"]), int(found["page"]) - 1
    return _on_disk(root, name), 0


def _on_disk(root: Path, name: str) -> Path:
    """Return the path of a name; where it does not exist, that of its other form of Unicode.

    macOS writes an umlaut as two code points (NFD), most tables hold one (NFC).
    """
    path = root / name
    if path.exists() or name.isascii():
        return path
    other = root
    for part in PurePath(name).parts:
        other /= part
        if not other.exists() and other.parent.is_dir():
            wanted = unicodedata.normalize("NFC", part)
            forms = (p for p in other.parent.iterdir() if unicodedata.normalize("NFC", p.name) == wanted)
            other = next(forms, other)
    return other if other.exists() else path


def find_images(inputs: Sequence[Path]) -> list[ImageSource]:
    """Return every field in files, folders (with their subfolders) and patterns, each once.

    Files keep the order in which they were given; inside a folder or pattern 2 comes before 10.
    The name is the path relative to the folder, or to the fixed part of the pattern; a file given
    directly has its file name. Where two would share a name, both get more of their path.
    A file that cannot be read is listed too, so that reading it can say why.

    Raises
    ------
    ImageError
        If an input does not exist, or a folder or pattern holds no image.
    """
    named: dict[Path, str] = {}
    for given in inputs:
        for path, name in _expand(Path(given)):
            named.setdefault(Path(os.path.abspath(path)), name)  # noqa: PTH100 - links stay as they are
    names = _distinct(named)
    sources = []
    for path, name in zip(named, names, strict=True):
        for page in range(_listed_pages(path)):
            sources.append(ImageSource(path, page, f"{name}#{page + 1}" if page else name))
    return sources


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a sorting key under which ``image2`` comes before ``image10``."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if i % 2 else (1, 0, part.casefold()) for i, part in enumerate(parts)]


def _expand(given: Path) -> list[tuple[Path, str]]:
    """Return the files that one input stands for, with their names."""
    if is_zarr(given):
        return [(given, given.name)]
    if given.is_dir():
        found = files_below(given)
        base = given
    elif (kind := special_kind(given)) is not None:
        raise ImageError(f"'{given}' is a {kind}, not a file; give an image file or a folder of them.")
    elif given.exists():
        return [(given, given.name)]
    elif glob.has_magic(str(given)):
        base = _fixed_part(given)
        found = [Path(match) for match in glob.glob(str(given), recursive=True)]  # noqa: PTH207
        found = [path for path in found if path.is_file() or is_zarr(path)]
    else:
        raise ImageError(f"There is no file or folder '{given}'; check the path.")
    names = {path: path.relative_to(base) for path in found if _is_listed(path.relative_to(base))}
    if not names:
        raise ImageError(
            f"'{given}' holds no image; give PNG, JPEG, BMP, WebP or TIFF files, or a folder of them."
        )
    ordered = sorted(names.items(), key=lambda item: natural_key(item[1].as_posix()))
    return [(path, name.as_posix()) for path, name in ordered]


def image_names(folder: Path) -> list[str]:
    """Return the names of the image files below a folder, pages not counted, in the order of `find_images`.

    Raises
    ------
    ImageError
        If there is none.
    """
    return [name for _, name in _expand(folder)]


def skipped_files(folder: Path) -> list[str]:
    """Return the names of the files below a folder that `find_images` passes over, hidden ones aside."""
    found = (path.relative_to(folder) for path in files_below(folder))
    return sorted(
        name.as_posix()
        for name in found
        if not _is_listed(name) and not any(part.startswith(".") for part in name.parts)
    )


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder and below folders that links in it lead to; a Zarr counts as one.

    A link to a folder that it lies in leads nowhere.
    """
    found: list[Path] = []
    waiting: list[tuple[Path, tuple[Path, ...]]] = [(folder, (folder.resolve(),))]
    while waiting:
        place, parents = waiting.pop()
        for path in _entries(place):
            if not path.is_dir() or is_zarr(path):
                found.append(path)
            elif (target := path.resolve()) not in parents:
                waiting.append((path, (*parents, target)))
    return found


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a folder; none where it may not be listed."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_listed(relative: PurePath) -> bool:
    """Return whether a file below a folder is an image and no part of its path is hidden."""
    hidden = any(part.startswith(".") for part in relative.parts)
    return relative.suffix.lower() in {*EXTENSIONS, ".zarr"} and not hidden


def _fixed_part(pattern: Path) -> Path:
    """Return the folder before the first part of a pattern that holds a wildcard."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _distinct(named: dict[Path, str]) -> list[str]:
    """Return one name per file, lengthened by parent folders until no two are equal."""
    names = list(named.values())
    paths = list(named)
    while True:
        counts = Counter(names)
        longer = [
            _with_parent(path, name) if counts[name] > 1 else name
            for path, name in zip(paths, names, strict=True)
        ]
        if longer == names:
            return names
        names = longer


def _with_parent(path: Path, name: str) -> str:
    """Return a name with one more folder of the path in front."""
    n_parts = len(PurePath(name).parts) + 1
    return PurePath(*path.parts[-n_parts:]).as_posix()


def _listed_pages(path: Path) -> int:
    """Return the number of pages, 1 for a file that cannot be read."""
    try:
        return max(n_pages(path), 1)
    except ImageError:
        return 1


def is_tiff(path: Path) -> bool:
    """Return whether the content is a TIFF; refuse files that are no image.

    Raises
    ------
    UnusableError
        With the reason and the remedy.
    """
    if is_zarr(path):
        raise UnusableError("is a Zarr, which only 'detect' and 'score' read; save the field as a TIFF.")
    kind = special_kind(path)
    if kind is not None:
        raise UnusableError(f"is a {kind}, not a file; give an image file.")
    if not path.exists():
        raise UnusableError("does not exist; check the path.")
    if path.suffix.lower() in SCANNER_FORMATS:
        raise UnusableError("is a slide of a scanner; choose and score its fields with 'napari-amil slide'.")
    if path.suffix.lower() not in EXTENSIONS:
        raise UnusableError("has an unknown extension; give a .png, .jpg, .bmp, .webp or .tif file.")
    with path.open("rb") as file:
        start = file.read(12)
    if not start:
        raise UnusableError("is empty (0 bytes); copy it again from where it came.")
    if is_tiff_start(start):
        return True
    if not is_picture(start):
        raise UnusableError(
            f"is named {path.suffix} but holds no PNG, JPEG, BMP, WebP or TIFF data; export it again."
        )
    return False


def check_page(page: int, available: int) -> None:
    """Refuse a page that the file does not have.

    Raises
    ------
    UnusableError
        With the number of pages that there are.
    """
    if not available:
        raise UnusableError("is damaged: it holds no picture; copy or export it again.")
    if not 0 <= page < available:
        raise UnusableError(f"has {available} page(s), so there is no page {page + 1}.")
