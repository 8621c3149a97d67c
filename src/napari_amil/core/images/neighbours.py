"""The images that lie beside one in its folder."""

from __future__ import annotations

from pathlib import Path

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images.read import EXTENSIONS, n_pages, natural_key


def neighbours(path: Path, page: int, count: int) -> list[tuple[Path, int]]:
    """Return file and page of at most ``count`` images beside one, the nearest by name first.

    Of a file with several pages these are its other pages.
    """
    if not path.is_file():
        return []
    try:
        pages = n_pages(path)
        names = sorted({each.name for each in path.parent.iterdir() if _is_image(each)} | {path.name})
    except (ImageError, OSError):
        return []
    if pages > 1:
        return [(path, number) for number in _nearest(pages, page, count)]
    names.sort(key=natural_key)
    return [(path.parent / names[i], 0) for i in _nearest(len(names), names.index(path.name), count)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _nearest(length: int, own: int, count: int) -> list[int]:
    """Return the places nearest to ``own`` in a list, without itself."""
    others = [i for i in range(length) if i != own]
    return sorted(others, key=lambda i: abs(i - own))[:count]
