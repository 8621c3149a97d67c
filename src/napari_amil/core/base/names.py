"""Names of files made from names of images and bags, and names as text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST_NAME_BYTES = 200  # most file systems take 255; the rest is for suffixes


def printable(text: str) -> str:
    """Return a text that UTF-8 can hold: bytes of a file name that are no UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def name_key(name: str, *, fold_case: bool = False) -> str:
    r"""Return the name of an image for comparison: composed Unicode, slashes only, no ``./`` at its start.

    >>> name_key(".\\A\\b.png", fold_case=True)
    'a/b.png'
    """
    plain = unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")
    return plain.casefold() if fold_case else plain


def file_name(name: str) -> str:
    """Return a name as one part of a path that every system takes, and that stays in its folder.

    Characters that some system forbids become ``_``. A long name is cut and ends with a hash of itself.

    >>> file_name("a/b: 1?"), file_name(".."), file_name("nul")
    ('a_b_ 1_', '_', '_nul')
    """
    plain = _NOT_IN_NAMES.sub("_", printable(name).replace("/", "_"))
    plain = plain.strip().rstrip(".") or "_"
    plain = f"_{plain}" if _DEVICES.fullmatch(plain) else plain
    if len(plain.encode()) > _LONGEST_NAME_BYTES:
        short = plain.encode()[: _LONGEST_NAME_BYTES - 9].decode(errors="ignore")
        plain = f"{short}-{hashlib.sha256(printable(name).encode()).hexdigest()[:8]}"
    return plain


def relative_files(names: Iterable[str], suffix: str) -> dict[str, Path]:
    """Return a file for each image or bag, relative to the folder of an export, which none can leave.

    Folders in a name are kept; ``..``, roots and drives are left out, and each part is a `file_name`.
    No two names have the same file, even where case does not count.

    Parameters
    ----------
    names
        Of images or bags, as the tables have them.
    suffix
        With its dot.
    """
    files: dict[str, Path] = {}
    used: set[str] = set()
    for name in names:
        parts = [part for part in re.split(r"[/\\]", name) if part not in {"", ".", ".."}]
        stem = "/".join(map(file_name, parts)) or "_"
        file, number = f"{stem}{suffix}", 2
        while file.lower() in used:
            file, number = f"{stem}-{number}{suffix}", number + 1
        used.add(file.lower())
        files[name] = Path(file)
    return files


def files_of_images(names: Iterable[str], suffix: str) -> dict[str, Path]:
    """Return a file for each image, called like it without its ending (``a.png``: ``a.txt``).

    Other programs look for it there. Images that differ by their endings alone, and pages, keep their names
    (`relative_files`).
    """
    stems = {name: re.sub(r"(?<=[^/\\])\.[^./\\#]+$", "", name) for name in names}
    counts = Counter(stem.lower() for stem in stems.values())
    called = {name: stem if counts[stem.lower()] == 1 else name for name, stem in stems.items()}
    files = relative_files(called.values(), suffix)
    return {name: files[own] for name, own in called.items()}
