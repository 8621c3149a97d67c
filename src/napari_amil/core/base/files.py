"""Write files in one step or several together, read JSON, and refuse anything but regular files."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import yaml

from napari_amil.core.base.errors import AmilError

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_LONGEST_REASON = 160  # characters of a decoder's message that are shown
_PIECE = 50  # items of a list that are encoded in one go
_LEFTOVER = re.compile(rf"\.napari-amil-{_HOST}-(\d+)-[0-9a-f]+\.partial")


def _temporary(folder: Path) -> Path:
    """Return a name in a folder that no other process or thread uses."""
    return folder / f".napari-amil-{_HOST}-{os.getpid()}-{secrets.token_hex(6)}.partial"


@lru_cache(maxsize=256)
def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes of this computer that have ended; once per process and folder."""
    with suppress(OSError):
        for path in folder.iterdir():
            found = _LEFTOVER.fullmatch(path.name)
            if found and not psutil.pid_exists(int(found[1])):
                remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def special_kind(path: Path) -> str | None:
    """Return the kind of ``path`` if it is no regular file; None for a file or nothing.

    Links are followed. Opening a named pipe or a device can block for ever.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None  # opening the file gives the reason
    if stat.S_ISREG(mode):
        return None
    return next((name for test, name in _KINDS if test(mode)), "special file")


def regular_file(path: Path, error: type[AmilError] = AmilError) -> Path:
    """Return ``path`` unless it is a folder, named pipe, socket or device; every reader calls this first.

    A path at which nothing stands is returned too, since opening it gives the reason.

    Raises
    ------
    AmilError
        Or the subclass given as ``error``.
    """
    kind = special_kind(path)
    if kind is not None:
        raise error(f"'{path}' is a {kind}, not a file; give a file.")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write to, which takes the place of ``path`` when the block ends.

    The file is on the disk before it is switched, and has the rights that the umask leaves, whatever
    the writer gave it. After an error the old file stands as it was.

    Raises
    ------
    AmilError
        If the file cannot be written.
    """
    partial = _temporary(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = os.fstat(descriptor).st_mode & 0o777
        os.close(descriptor)
        yield partial
        partial.chmod(mode)
        with partial.open("r+b") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise AmilError(
            f"Cannot write '{path}': {error.strerror or error}; check the folder and the free space."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    if sys.platform != "win32":
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def replacing_together(
    folder: Path, last: Sequence[str] = (), outdated: Iterable[str] = ()
) -> Iterator[Path]:
    """Yield a temporary folder to write into, whose files take their places in ``folder`` together.

    While the block runs, and after an error in it, the old files stand as they were. At its end the old
    files are removed before the new ones are moved in, so that files of two generations never lie
    side by side, wherever the process is killed.

    Parameters
    ----------
    folder
        Destination of the files.
    last
        Names of files that vouch for the others: removed first and moved in last.
    outdated
        Names of files of an earlier generation that are removed, too.

    Raises
    ------
    AmilError
        If a file cannot be written.
    """
    stage = _temporary(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        stage.mkdir()
        yield stage
        written = [path.relative_to(stage) for path in sorted(stage.rglob("*")) if path.is_file()]
        ordered = sorted(written, key=lambda path: str(path) in last)
        for path in [*map(Path, last), *map(Path, outdated), *reversed(ordered)]:
            (folder / path).unlink(missing_ok=True)
        for path in ordered:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (stage / path).replace(folder / path)
        _sync_folder(folder)
    except AmilError as error:
        if str(stage) not in str(error):
            raise
        raise AmilError(str(error).replace(str(stage), str(folder))) from error  # no name that is gone
    except OSError as error:
        raise AmilError(
            f"Cannot write into '{folder}': {error.strerror or error}; check the folder and the free space."
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_exact_json(content: dict[str, Any], path: Path) -> None:
    """Write a dictionary as JSON; a number that is not finite is an error, since JSON has none.

    It is encoded piece by piece: one call for all of it would hold every other thread of the process, such
    as that of a window, for seconds.
    """
    text = "".join(_json_pieces(content))
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _json_pieces(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the text of ``json.dumps`` in small parts."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for number, (key, item) in enumerate(value.items()):
            yield f"{', ' if number else '{'}{json.dumps(key)}: "
            yield from _json_pieces(item)
        yield "}" if value else "{}"
    elif isinstance(value, list) and len(value) > _PIECE:
        for start in range(0, len(value), _PIECE):
            yield ", " if start else "["
            yield json.dumps(value[start : start + _PIECE], allow_nan=False)[1:-1]
        yield "]"
    else:
        yield json.dumps(value, allow_nan=False)


@contextmanager
def decoding(
    path: Path,
    fault: str = "cannot be read",
    remedy: str = "export it again",
    error: type[AmilError] = AmilError,
) -> Iterator[None]:
    """Turn every error while a file is decoded into an error of one sentence that names the file.

    Decoders raise errors of any class on damaged files, so that no list of classes would be complete.

    Parameters
    ----------
    path
        The file; one that is no regular file is refused at once.
    fault, remedy
        Parts of the sentence: ``'<path>' <fault> (<reason>); <remedy>.``
    error
        Class of the error that is raised.

    Raises
    ------
    AmilError
        Or the subclass given as ``error``.
    """
    regular_file(path, error)
    try:
        yield
    except AmilError:
        raise
    except MemoryError as found:
        raise error(f"'{path}' {fault} (it does not fit into memory); {remedy}.") from found
    except Exception as found:
        reason = found.strerror if isinstance(found, OSError) and found.strerror else str(found)
        reason = " ".join(reason.split())[:_LONGEST_REASON].rstrip(".") or type(found).__name__
        raise error(f"'{path}' {fault} ({reason}); {remedy}.") from found


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Return the content of a JSON file.

    Raises
    ------
    AmilError
        If the file is missing, no regular file or no JSON.
    """
    with decoding(path, "cannot be read as JSON"):
        return json.loads(path.read_text(encoding="utf-8-sig"))


def read_yaml(path: Path, error: type[AmilError] = AmilError) -> Any:  # noqa: ANN401
    """Return the content of a YAML file; aliases (``*name``), which can stand for endless text, are refused.

    Raises
    ------
    AmilError
        Or the subclass given as ``error``, if the file is missing, no regular file or no such YAML.
    """
    with decoding(path, "cannot be read as YAML", "check the path and its text", error):
        return yaml.load(path.read_text(encoding="utf-8-sig"), _YamlWithoutAliases)


def read_yaml_mapping(path: Path, error: type[AmilError] = AmilError) -> dict[str, Any]:
    """Return the names and values of a YAML file, none of an empty one.

    Raises
    ------
    AmilError
        As `read_yaml`, and if it holds anything else.
    """
    values = read_yaml(path, error) or {}
    if not isinstance(values, dict):
        raise error(f"'{path}' holds no settings; write 'name: value' in each line.")
    return values


@contextmanager
def naming_file(path: Path, error: type[AmilError]) -> Iterator[None]:
    """Begin the sentence about a wrong value with the file in which it stands."""
    try:
        yield
    except error as found:
        raise error(f"In '{path}': {found}") from found


class _YamlWithoutAliases(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node, as the base class does."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported; write the values out")
        return super().compose_node(parent, index)


def json_sha256(value: Any) -> str:  # noqa: ANN401
    """Return the SHA-256 of plain JSON values, whatever the order of their keys, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
