"""Hold a folder as the one process that writes results into it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_amil.core.base.errors import AmilError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".napari-amil.lock"
"""Name of the file that holds a folder while results are written into it."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which exists, as the one process that writes results into it.

    The operating system frees the lock when the process ends, however it ends.

    Raises
    ------
    AmilError
        If another process, or other work of this one, holds the folder.
    """
    file = folder / LOCK_FILE
    try:
        descriptor = _take_lock(file)
    except OSError as error:
        raise AmilError(
            f"Cannot write into '{folder}': {error.strerror}; check its permissions and the free space."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # an open file cannot be removed on Windows; it stays, unlocked
            file.unlink()
        os.close(descriptor)


def _take_lock(file: Path) -> int:
    """Return the descriptor of the lock file, which is locked and still has its name."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _try_lock(descriptor):
                owner = os.read(descriptor, 20).decode("ascii", "replace").strip()
                raise AmilError(
                    f"Another process (number {owner or 'unknown'}) is writing into '{file.parent}'; wait "
                    "for it, or choose another folder."
                )
            with suppress(FileNotFoundError):  # another process has ended and removed it in between
                if _names(file, descriptor):
                    with suppress(OSError):  # on a full disk the folder is held without a number
                        os.truncate(descriptor, 0)
                        os.write(descriptor, str(os.getpid()).encode())
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _names(file: Path, descriptor: int) -> bool:
    """Return whether the file of this name is the open one."""
    here, opened = file.stat(), os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (opened.st_dev, opened.st_ino)


def _try_lock(descriptor: int) -> bool:
    """Lock an open file; False if it is locked already. Where a file system has no locks, all are free."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
