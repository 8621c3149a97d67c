"""Files of results that replace only what this program wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import file_sha256, read_json, replacing_together, write_exact_json

_LIST = ".napari-amil-files.json"
_CHECKED_BY_COLUMNS = frozenset({"cells.csv", "bags.csv"})  # by `refuse_foreign_tables`


@contextmanager
def replacing_own(folder: Path, last: Sequence[str] = (), outdated: Iterable[str] = ()) -> Iterator[Path]:
    """Write files together as `replacing_together`, and replace none that another hand wrote or changed.

    A hidden list in the folder holds the SHA-256 of each file and, until the next run, of the one that it
    replaced, so that it is right wherever the process is killed. Tables of cells and bags are not listed:
    their columns say whose they are.

    Raises
    ------
    AmilError
        As `replacing_together` and `refuse_foreign_files`.
    """
    with replacing_together(folder, last, outdated) as stage:
        yield stage
        files = [path.relative_to(stage) for path in sorted(stage.rglob("*")) if path.is_file()]
        refuse_foreign_files(folder, files)
        known = _listed(folder)
        for file in files:
            name = file.as_posix()
            if name not in _CHECKED_BY_COLUMNS:
                places = (folder / file, stage / file)
                known[name] = [file_sha256(place) for place in places if place.exists()]
        if known:
            write_exact_json(known, folder / _LIST)


def refuse_foreign_files(folder: Path, files: Iterable[Path]) -> None:
    """Refuse to replace a file that another hand wrote into a folder of results, or changed there.

    Parameters
    ----------
    folder
        Folder of the results.
    files
        Their names, relative to it.

    Raises
    ------
    AmilError
        Naming the first such file.
    """
    known = _listed(folder)
    for file in files:
        name, path = file.as_posix(), folder / file
        if name in _CHECKED_BY_COLUMNS or not path.exists():
            continue
        if not path.is_file() or file_sha256(path) not in known.get(name, []):
            raise AmilError(
                f"'{path}' was not written by this program, or was changed since, and would be lost; choose "
                "another folder for the results."
            )


def _listed(folder: Path) -> dict[str, list[str]]:
    """Return the SHA-256 of the files that this program wrote into a folder, by their name."""
    if not (folder / _LIST).is_file():
        return {}
    found = read_json(folder / _LIST)
    usable = isinstance(found, dict) and all(isinstance(hashes, list) for hashes in found.values())
    return found if usable else {}
